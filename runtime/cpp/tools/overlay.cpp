#include "overlay.hpp"

#include <algorithm>
#include <array>

namespace clsclip::tool {

namespace {

using Colour = std::array<std::uint8_t, 3>;

/// Okabe and Ito's colours; black would not show.
constexpr std::array<Colour, 7> kColours{
    {{0xE6, 0x9F, 0x00}, {0x56, 0xB4, 0xE9}, {0x00, 0x9E, 0x73}, {0xF0, 0xE4, 0x42}, {0x00, 0x72, 0xB2},
     {0xD5, 0x5E, 0x00}, {0xCC, 0x79, 0xA7}}};

/// Any picture as opaque RGB, transparency laid on white.
Picture as_rgb(const Picture& picture) {
    if (picture.format == PixelFormat::rgb) {
        return picture;
    }
    Picture made{picture.width, picture.height, PixelFormat::rgb, {}};
    const auto step = static_cast<std::size_t>(bytes_per_pixel(picture.format));
    made.pixels.reserve(picture.pixels.size() / step * 3);
    for (std::size_t at = 0; at < picture.pixels.size(); at += step) {
        const unsigned alpha = step == 4 ? picture.pixels[at + 3] : 255U;
        for (std::size_t channel = 0; channel < 3; ++channel) {
            const unsigned value = picture.pixels[step == 1 ? at : at + channel];
            made.pixels.push_back(static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255));
        }
    }
    return made;
}

void outline(Picture& picture, const Box& box, const Colour& colour) {
    const auto inside = [](float value, int side) { return std::clamp(static_cast<int>(value), 0, side - 1); };
    const int left = inside(box.left, picture.width), right = inside(box.right - 1, picture.width);
    const int top = inside(box.top, picture.height), bottom = inside(box.bottom - 1, picture.height);
    const auto paint = [&](int x, int y) {
        std::copy(colour.begin(), colour.end(), picture.pixels.begin() + 3 * (std::ptrdiff_t{y} * picture.width + x));
    };
    for (int x = left; x <= right; ++x) {
        paint(x, top), paint(x, bottom);
    }
    for (int y = top; y <= bottom; ++y) {
        paint(left, y), paint(right, y);
    }
}

}  // namespace

Picture overlay_of(const Picture& picture, const Result& result) {
    Picture painted = as_rgb(picture);
    for (std::size_t word = 0; word < result.words().size(); ++word) {
        if (!result.present(word)) {
            continue;
        }
        const Mask mask = result.mask(word);
        const Colour& colour = kColours[word % kColours.size()];
        for (std::size_t at = 0; at < mask.pixels.size(); ++at) {
            for (std::size_t channel = 0; mask.pixels[at] != 0 && channel < 3; ++channel) {
                std::uint8_t& value = painted.pixels[3 * at + channel];
                value = static_cast<std::uint8_t>((value + colour[channel] + 1) / 2);
            }
        }
    }
    for (const Region& region : result.regions()) {
        if (!region.whole_image) {
            outline(painted, region.box, kColours[region.word % kColours.size()]);
        }
    }
    return painted;
}

}  // namespace clsclip::tool
