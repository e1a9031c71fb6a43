/// DecodedImage files: JPEG and PNG in, PNG out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip::tool {

/// An upright picture that owns its pixels, rows without gaps.
struct DecodedImage {
    int width = 0;
    int height = 0;
    PixelFormat format = PixelFormat::rgb;
    std::vector<std::uint8_t> pixels;
    std::vector<std::string> notes{};  ///< what was left out or assumed

    [[nodiscard]] ImageView view() const {
        return {pixels.data(), width, height, std::ptrdiff_t{width} * bytes_per_pixel(format), format};
    }
};

/// Read a JPEG or PNG file, upright, to the pixels that Python reads. ImageError.
[[nodiscard]] DecodedImage read_image(const std::filesystem::path& path, std::int64_t max_pixels = 200'000'000);

/// The bytes of a PNG file of a gray or RGB image. Error.
[[nodiscard]] std::vector<std::uint8_t> png_of(const DecodedImage& image);

/// The picture turned and mirrored as an EXIF orientation asks.
[[nodiscard]] DecodedImage upright(DecodedImage image, int orientation);

}  // namespace clsclip::tool
