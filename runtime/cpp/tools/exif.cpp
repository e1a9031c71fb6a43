#include "exif.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace clsclip::tool {

namespace {

constexpr std::uint32_t kOrientation = 0x0112;

/// Unsigned numbers of a block, in its own byte order; 0 beyond its end.
class Numbers {
public:
    explicit Numbers(std::span<const std::uint8_t> block) : block_(block), big_(block[0] == 'M') {}

    [[nodiscard]] std::uint32_t at(std::size_t place, std::size_t bytes) const {
        std::uint32_t value = 0;
        for (std::size_t step = 0; step < bytes; ++step) {
            const std::size_t one = place + (big_ ? step : bytes - 1 - step);
            value = value << 8 | (one < block_.size() ? block_[one] : 0U);
        }
        return value;
    }

private:
    std::span<const std::uint8_t> block_;
    bool big_;
};

/// Bytes of a number of a TIFF type; 0 for types that hold no whole number.
std::size_t bytes_of(std::uint32_t type) {
    switch (type) {
        case 3:
        case 8:
            return 2;
        case 4:
        case 9:
            return 4;
        default:
            return 0;
    }
}

bool begins_as_tiff(std::span<const std::uint8_t> block) {
    constexpr std::array<std::array<std::uint8_t, 4>, 6> kBeginnings{{{'M', 'M', 0, 42},
                                                                      {'I', 'I', 42, 0},
                                                                      {'M', 'M', 42, 0},
                                                                      {'I', 'I', 0, 42},
                                                                      {'M', 'M', 0, 43},
                                                                      {'I', 'I', 43, 0}}};
    return block.size() >= 8 && std::any_of(kBeginnings.begin(), kBeginnings.end(), [&](const auto& one) {
               return std::memcmp(block.data(), one.data(), one.size()) == 0;
           });
}

}  // namespace

Orientation exif_orientation(std::span<const std::uint8_t> block) {
    if (block.empty()) {
        return {};
    }
    if (!begins_as_tiff(block)) {
        return {std::nullopt, false};
    }
    Orientation found;
    const Numbers numbers(block);
    const std::size_t first = numbers.at(4, 4);
    const std::size_t entries = numbers.at(first, 2);
    for (std::size_t entry = 0; entry < entries && first + 2 + 12 * (entry + 1) <= block.size(); ++entry) {
        const std::size_t place = first + 2 + 12 * entry;
        const std::size_t bytes = bytes_of(numbers.at(place + 2, 2));
        if (numbers.at(place, 2) == kOrientation && bytes > 0 && numbers.at(place + 4, 4) > 0) {
            found.value = numbers.at(place + 8, bytes);
        }
    }
    return found;
}

std::optional<std::uint32_t> xmp_orientation(std::string_view text) {
    constexpr std::string_view kName = "tiff:Orientation";
    for (std::size_t at = text.find(kName); at != std::string_view::npos; at = text.find(kName, at + 1)) {
        std::string_view rest = text.substr(at + kName.size());
        const bool attribute = rest.starts_with("=\""), element = rest.starts_with(">");
        rest.remove_prefix(attribute ? 2 : element ? 1 : 0);
        if ((attribute || element) && !rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
            return static_cast<std::uint32_t>(rest[0] - '0');
        }
    }
    return std::nullopt;
}

}  // namespace clsclip::tool
