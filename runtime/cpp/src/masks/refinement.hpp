/// Edges of the picture for logits that are too coarse for them: a guided filter in color.
///
/// He, Sun and Tang, "Guided Image Filtering" (TPAMI 2013), equations 14 to 19: in every window of the guide the output
/// is the plane a . color + b that is nearest to the input, with an epsilon against steep planes; windows that overlap
/// are averaged. So the output follows the input where the picture is smooth, and the picture where it has an edge.
/// Planes are found at half the guide's size and stretched ("Fast Guided Filter", arXiv 1505.00996). The work grows with
/// the pixels of the guide, not with the radius. All is in double precision, in the order of the Python runtime.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// For every output along an axis the input before it, and how far it is on its way to the next, 0 to 1.
struct AxisPlaces {
    std::vector<std::size_t> low;
    std::vector<double> part;
};

/// Numbers row by row.
struct Map {
    int width = 0, height = 0;
    std::vector<double> values;

    Map(int wide, int high, double value = 0)
        : width(wide), height(high),
          values(static_cast<std::size_t>(wide) * static_cast<std::size_t>(high), value) {}
};

/// A map at any rows and columns, down and then across.
[[nodiscard]] Map bilinear(const Map& map, const AxisPlaces& rows, const AxisPlaces& columns);

/// Filters many maps by one window of a picture, whose own part is worked out once.
class GuidedFilter {
public:
    /// The guide is the window at `width` x `height` pixels. ImageError as `resize`.
    GuidedFilter(const ImageView& image, const Window& window, int width, int height);

    /// Size of the maps that are filtered: half the guide's, rounded up.
    [[nodiscard]] int coarse_width() const noexcept { return (width_ + 1) / 2; }
    [[nodiscard]] int coarse_height() const noexcept { return (height_ + 1) / 2; }

    /// Filter a map of the coarse size: (height, width) of the guide, row by row.
    [[nodiscard]] std::vector<float> operator()(const Map& map) const;

private:
    /// First place of a window, the one behind its last, and how many there are, for every place.
    struct Bounds {
        std::vector<std::size_t> low, high;
        std::vector<double> count;
    };

    static Bounds bounds(int length, int radius);
    [[nodiscard]] Map mean(const Map& map) const;
    [[nodiscard]] Map product_mean(const Map& one, const Map& other) const;
    [[nodiscard]] std::array<Map, 4> planes(const Map& map) const;

    int width_, height_;
    std::vector<Map> fine_, colors_, mean_, inverse_;
    Bounds across_, down_;
    AxisPlaces rows_, columns_;
};

}  // namespace clsclip
