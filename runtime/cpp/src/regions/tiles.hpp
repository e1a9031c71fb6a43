/// Overlapping tiles of a picture: regions for things that are small, where no detector knows them.
#pragma once

#include <span>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// What results call them.
inline constexpr const char* kTiles = "tiles";

/// The windows of all tiles, each scale's row by row: never empty, inside the picture, which those of each scale cover.
///
/// `scales` are for each scale how many tiles there are along either side; a side of fewer pixels has a tile a pixel.
/// `overlap` is what neighbors share, as a share of a tile's side, 0 to below 1.
[[nodiscard]] std::vector<Window> tile_windows(int width, int height, std::span<const int> scales, double overlap);

}  // namespace clsclip
