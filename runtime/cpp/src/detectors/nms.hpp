/// Non-maximum suppression: of boxes of one class that overlap, the surest stays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// Boxes that are looked at, the surest first: ultralytics' bound, so that noise cannot take minutes.
inline constexpr std::size_t kMostCandidates = 30'000;

/// Positions of scores from the highest on; equal ones in their order. At most `most`.
[[nodiscard]] std::vector<std::size_t> surest(std::span<const float> scores, std::size_t most);

/// Positions of the boxes that stay, the surest first, at most `most`; boxes of different classes never drop each other.
///
/// A box is dropped when it overlaps a surer one of its class by more than `iou`; one without area overlaps nothing.
[[nodiscard]] std::vector<std::size_t> keep_best(std::span<const Box> boxes, std::span<const float> scores,
                                                 std::span<const int> classes, double iou, std::size_t most);

}  // namespace clsclip
