/// Reading rows of a picture of any format as planes of red, green and blue.
#pragma once

#include <cstddef>
#include <cstdint>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// Longest side of a picture in pixels, so that tables of a side stay small.
inline constexpr int max_side = 1 << 20;

/// ImageError unless the view can be a picture: it has pixels, a known format, and rows that do not overlap.
void check_image(const ImageView& image);

/// ImageError unless the window has pixels, all of them in the picture.
void check_window(const ImageView& image, const Window& window);

/// Planes of a picture of this format: 1 (gray), or 3 (red, green, blue).
[[nodiscard]] constexpr int planes_of(PixelFormat format) noexcept { return format == PixelFormat::gray ? 1 : 3; }

/// Read columns left <= x < right of row y, 0..255, alpha laid on white as Pillow's `alpha_composite` does.
///
/// Plane c is written to planes + c * plane_size. Nothing is checked.
void read_row(const ImageView& image, int y, int left, int right, std::int16_t* planes, std::size_t plane_size);

}  // namespace clsclip
