/// From low-resolution logits to masks at the picture's size.
///
/// Logits, not probabilities or masks, are upsampled (bilinear, align_corners=False), and only then compared with the
/// threshold: the edge of a mask is as smooth as the logits allow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// The logit of a probability strictly between 0 and 1.
[[nodiscard]] double logit(double probability);

/// Set the pixels of a window to 1 where logits (height, width), stretched over the window, exceed `mask_logit`; the others, and
/// those outside `limit`, stay as they are, so several masks are joined by pasting them one after another.
///
/// `pixels` is the picture's first pixel, its rows `stride` bytes apart; the window lies inside, and the limit inside of
/// the window. BackendError: the number of logits is not height * width, or there are none.
void paste_mask(std::span<const float> logits, int height, int width, float mask_logit, const Window& window,
                const Window& limit, std::uint8_t* pixels, std::ptrdiff_t stride);

}  // namespace clsclip
