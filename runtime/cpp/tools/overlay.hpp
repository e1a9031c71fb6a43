/// A picture with its masks above, in colours that people with any kind of colour vision tell apart.
#pragma once

#include "pictures.hpp"

namespace clsclip::tool {

/// An RGB picture of the same size: masks half transparent, later words above earlier ones, boxes of regions outlined.
[[nodiscard]] Picture overlay_of(const Picture& picture, const Result& result);

}  // namespace clsclip::tool
