/// One image's way through the graphs: which crops are searched for which classes, as many together as a call may hold.
#pragma once

#include "bundle/manifest.hpp"
#include "inference/model.hpp"
#include "inference/request.hpp"
#include "inference/timings.hpp"
#include "results/pairs.hpp"
#include "text/encoded.hpp"

namespace clsclip {

/// Segment one image. BackendError: the backend failed, or gave NaN. OptionError: the result would exceed result_mb.
[[nodiscard]] Findings segment(const ImageRequest& image, const CallRequest& call, const EncodedWords& encoded,
                               const LoadedModel& model, const Manifest& manifest, const Limits& limits,
                               Timings& timings);

/// Take every box of a class as a mask of that class: logits (P, 1, 1) above `mask_logit`.
[[nodiscard]] Findings boxes_as_masks(const ImageRequest& image, const CallRequest& call, float mask_logit);

}  // namespace clsclip
