/// Which way up a picture is: the orientation in EXIF blocks and XMP texts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace clsclip::tool {

/// What a block says.
struct Orientation {
    std::optional<std::uint32_t> value;  ///< 1 to 8 as EXIF counts; others mean nothing
    bool readable = true;                ///< false: the block is damaged
};

/// The orientation in an EXIF block, which begins with its byte order ("II" or "MM").
[[nodiscard]] Orientation exif_orientation(std::span<const std::uint8_t> block);

/// The orientation in an XMP text.
[[nodiscard]] std::optional<std::uint32_t> xmp_orientation(std::string_view text);

}  // namespace clsclip::tool
