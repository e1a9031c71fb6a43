#include "regions/tiles.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace clsclip {

namespace {

std::vector<std::pair<int, int>> spans(int length, int count, double overlap) {
    count = std::min(count, length);
    const double tile = length / (count - (count - 1) * overlap);
    std::vector<std::pair<int, int>> found;
    for (int at = 0; at < count; ++at) {
        const double start = at * tile * (1 - overlap);
        found.emplace_back(static_cast<int>(std::floor(start)),
                           std::min(length, static_cast<int>(std::ceil(start + tile))));
    }
    return found;
}

}  // namespace

std::vector<Window> tile_windows(int width, int height, std::span<const int> scales, double overlap) {
    std::vector<Window> windows;
    for (const int count : scales) {
        const auto columns = spans(width, count, overlap);
        for (const auto& [top, bottom] : spans(height, count, overlap)) {
            for (const auto& [left, right] : columns) {
                windows.push_back({left, top, right, bottom});
            }
        }
    }
    return windows;
}

}  // namespace clsclip
