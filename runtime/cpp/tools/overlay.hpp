/// A picture with its masks above, in colors that people with any kind of color vision tell apart.
#pragma once

#include "decoded_image.hpp"

namespace clsclip::tool {

/// An RGB picture of the same size: masks half transparent, later words above earlier ones, boxes of regions outlined.
[[nodiscard]] DecodedImage overlay_of(const DecodedImage& image, const Result& result);

}  // namespace clsclip::tool
