/// Pillow's antialiased resize, and the image encoder's input made with it.
#pragma once

#include <cstdint>
#include <vector>

#include "bundle/manifest.hpp"
#include "clsclip/clsclip.hpp"
#include "images/filters.hpp"

namespace clsclip {

/// What Pillow's `image.crop(window).resize((width, height), filter)` gives, byte for byte.
///
/// Returns planes (3, height, width), red, green and blue; one plane (1, height, width) of a gray picture. Memory beside
/// the result is a row of the window and some tables, whatever the picture's size.
///
/// Throws ImageError: the picture or the window is not usable.
[[nodiscard]] std::vector<std::uint8_t> resize(const ImageView& image, const Window& window, int width, int height,
                                               Filter filter);

/// The image encoder's input (3, S, S) for a window of a picture: resized as 8-bit, scaled to 0..1, normalized.
///
/// Written to `pixels`, of 3 * S * S floats. Throws ImageError as `resize`; BundleError: no such filter.
void preprocess(const ImageView& image, const Window& window, const ImageSpec& spec, float* pixels);

}  // namespace clsclip
