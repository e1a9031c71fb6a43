/// Logits made as fine as the picture: those of whole pictures and tiles joined into one map a class, and filtered by
/// color. The maps take the place of the pairs, so that whatever is made of a result is made of them.
#pragma once

#include <utility>

#include "bundle/manifest.hpp"
#include "inference/request.hpp"
#include "results/pairs.hpp"

namespace clsclip {

/// Refine the logits of `found`, which are (P, height, width); afterwards all are compared with `mask_logit`, and classes
/// without pixels stay so.
///
/// Of crops of whole pictures and tiles a class gets one map of the picture, in every pixel the strongest; a region's is
/// refined by itself, because it is a thing by itself. Returns height and width of the new logits. OptionError: the maps
/// would not fit into result_mb.
std::pair<int, int> refine(Findings& found, const ImageRequest& image, std::pair<int, int> logits_size, float mask_logit,
                           const Limits& limits);

}  // namespace clsclip
