#include "regions/crops.hpp"

#include <algorithm>
#include <cmath>

#include "errors.hpp"

namespace clsclip {

namespace {

/// A box in doubles, so that large pictures round as they do everywhere else.
struct Corners {
    double low_x, low_y, high_x, high_y;
};

/// A box cut at the picture's edges; false if nothing of it is left.
bool cut(const Box& box, int width, int height, Corners& inside) {
    if (!std::isfinite(box.left) || !std::isfinite(box.top) || !std::isfinite(box.right) || !std::isfinite(box.bottom)) {
        return false;
    }
    const auto limit = [](double value, int most) { return std::clamp(value, 0.0, static_cast<double>(most)); };
    inside = {limit(box.left, width), limit(box.top, height), limit(box.right, width), limit(box.bottom, height)};
    return inside.high_x > inside.low_x && inside.high_y > inside.low_y;
}

/// One axis of a window: the box with its margin in whole pixels, made at least `smallest` long where there is room.
void widen(double& low, double& high, double limit, const ZoomIn& zoom) {
    const double extra = zoom.crop_margin * (high - low);
    low = std::floor(std::max(low - extra, 0.0));
    high = std::ceil(std::min(high + extra, limit));
    const double smallest = std::min(static_cast<double>(zoom.min_crop_size), limit);
    const double lacking = std::max(smallest - (high - low), 0.0);
    if (lacking > 0) {
        low = std::min(std::max(low - std::floor(lacking / 2), 0.0), limit - smallest);
        high = low + smallest;
    }
}

Window whole(const Corners& one) {
    return {static_cast<int>(one.low_x), static_cast<int>(one.low_y), static_cast<int>(one.high_x),
            static_cast<int>(one.high_y)};
}

}  // namespace

std::vector<BoxWindow> crop_windows(std::span<const Box> boxes, int width, int height, const ZoomIn& zoom) {
    std::vector<BoxWindow> windows;
    for (std::size_t at = 0; at < boxes.size(); ++at) {
        Corners inside{};
        if (cut(boxes[at], width, height, inside)) {
            widen(inside.low_x, inside.high_x, width, zoom);
            widen(inside.low_y, inside.high_y, height, zoom);
            windows.push_back({whole(inside), at});
        }
    }
    return windows;
}

std::vector<BoxWindow> box_windows(std::span<const Box> boxes, int width, int height) {
    std::vector<BoxWindow> windows;
    for (std::size_t at = 0; at < boxes.size(); ++at) {
        Corners inside{};
        if (!cut(boxes[at], width, height, inside)) {
            continue;
        }
        // Half to even, the processor's own rounding.
        const Window window = whole({std::nearbyint(inside.low_x), std::nearbyint(inside.low_y),
                                     std::nearbyint(inside.high_x), std::nearbyint(inside.high_y)});
        if (window.width() > 0 && window.height() > 0) {
            windows.push_back({window, at});
        }
    }
    return windows;
}

Window mask_limit(const Box& box, const Window& window, int width, int height, double margin) {
    Corners inside{};
    cut(box, width, height, inside);
    const double across = margin * (inside.high_x - inside.low_x), down = margin * (inside.high_y - inside.low_y);
    return whole({std::max(std::floor(inside.low_x - across), static_cast<double>(window.left)),
                  std::max(std::floor(inside.low_y - down), static_cast<double>(window.top)),
                  std::min(std::ceil(inside.high_x + across), static_cast<double>(window.right)),
                  std::min(std::ceil(inside.high_y + down), static_cast<double>(window.bottom))});
}

void check_zoom(const ZoomIn& zoom) {
    if (!(zoom.crop_margin >= 0 && zoom.crop_margin <= 10)) {
        fail<OptionError>("crop_margin must be a number from 0 to 10, and it is ", zoom.crop_margin);
    }
    if (!(zoom.mask_threshold > 0 && zoom.mask_threshold < 1)) {
        fail<OptionError>("mask_threshold must be a number above 0 and below 1, and it is ", zoom.mask_threshold);
    }
    if (zoom.mask_margin && !(*zoom.mask_margin >= 0 && *zoom.mask_margin <= 10)) {
        fail<OptionError>("mask_margin must be a number from 0 to 10, and it is ", *zoom.mask_margin);
    }
    if (zoom.min_crop_size < 1) {
        fail<OptionError>("min_crop_size must be a whole number of 1 or more, and it is ", zoom.min_crop_size);
    }
}

}  // namespace clsclip
