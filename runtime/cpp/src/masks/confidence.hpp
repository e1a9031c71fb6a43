/// How sure a mask is of itself: the logits of a faint one are lowered, which most masks of absent words are.
#pragma once

#include <span>

namespace clsclip {

/// The mean of a mask's own logits, each weighted by itself; 0 where none is positive.
[[nodiscard]] double confidence(std::span<const float> logits);

/// Lower the logits of one mask by what its confidence is short of `least`.
void lower_faint(std::span<float> logits, double least);

}  // namespace clsclip
