/// What the readers of JPEG and PNG share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decoded_image.hpp"
#include "exif.hpp"

namespace clsclip::tool {

using Bytes = std::vector<std::uint8_t>;

/// An image as it is stored, and which way up it is.
struct StoredImage {
    DecodedImage image;
    int orientation = 1;
};

/// ImageError for a file that is damaged.
[[noreturn]] void fail_damaged(const std::string& name, const std::string& reason);

/// ImageError if an image has no pixels, too many of them, or too long a side.
void check_size(std::int64_t width, std::int64_t height, std::int64_t most, const std::string& name);

/// Add what the color profile, the EXIF block and the XMP text of a file ask for: notes, and the orientation.
void apply_metadata(StoredImage& stored, std::span<const std::uint8_t> profile, std::span<const std::uint8_t> exif,
                    std::string_view xmp);

/// Add the note about transparency where an RGBA image has any.
void note_transparency(DecodedImage& image);

[[nodiscard]] StoredImage read_jpeg(const Bytes& bytes, const std::string& name, std::int64_t max_pixels);
[[nodiscard]] StoredImage read_png(const Bytes& bytes, const std::string& name, std::int64_t max_pixels);

}  // namespace clsclip::tool
