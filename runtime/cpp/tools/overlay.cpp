#include "overlay.hpp"

#include <algorithm>
#include <array>

namespace clsclip::tool {

namespace {

using Color = std::array<std::uint8_t, 3>;

/// Okabe and Ito's colors; black would not show.
constexpr std::array<Color, 7> kColors{
    {{0xE6, 0x9F, 0x00}, {0x56, 0xB4, 0xE9}, {0x00, 0x9E, 0x73}, {0xF0, 0xE4, 0x42}, {0x00, 0x72, 0xB2},
     {0xD5, 0x5E, 0x00}, {0xCC, 0x79, 0xA7}}};

/// Any picture as opaque RGB, transparency laid on white.
DecodedImage as_rgb(const DecodedImage& image) {
    if (image.format == PixelFormat::rgb) {
        return image;
    }
    DecodedImage made{image.width, image.height, PixelFormat::rgb, {}, {}};
    const auto step = static_cast<std::size_t>(bytes_per_pixel(image.format));
    made.pixels.reserve(image.pixels.size() / step * 3);
    for (std::size_t at = 0; at < image.pixels.size(); at += step) {
        const unsigned alpha = step == 4 ? image.pixels[at + 3] : 255U;
        for (std::size_t channel = 0; channel < 3; ++channel) {
            const unsigned value = image.pixels[step == 1 ? at : at + channel];
            made.pixels.push_back(static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255));
        }
    }
    return made;
}

void outline(DecodedImage& image, const Box& box, const Color& color) {
    const auto inside = [](float value, int side) { return std::clamp(static_cast<int>(value), 0, side - 1); };
    const int left = inside(box.left, image.width), right = inside(box.right - 1, image.width);
    const int top = inside(box.top, image.height), bottom = inside(box.bottom - 1, image.height);
    const auto paint = [&](int x, int y) {
        std::copy(color.begin(), color.end(), image.pixels.begin() + 3 * (std::ptrdiff_t{y} * image.width + x));
    };
    for (int x = left; x <= right; ++x) {
        paint(x, top), paint(x, bottom);
    }
    for (int y = top; y <= bottom; ++y) {
        paint(left, y), paint(right, y);
    }
}

}  // namespace

DecodedImage overlay_of(const DecodedImage& image, const Result& result) {
    DecodedImage painted = as_rgb(image);
    for (std::size_t one = 0; one < result.classes().size(); ++one) {
        const Mask mask = result.mask(one);
        const Color& color = kColors[one % kColors.size()];
        for (std::size_t at = 0; at < mask.pixels.size(); ++at) {
            for (std::size_t channel = 0; mask.pixels[at] != 0 && channel < 3; ++channel) {
                std::uint8_t& value = painted.pixels[3 * at + channel];
                value = static_cast<std::uint8_t>((value + color[channel] + 1) / 2);
            }
        }
    }
    for (const Instance& one : result.instances()) {
        if (!one.whole_image) {
            outline(painted, one.box, kColors[one.class_index % kColors.size()]);
        }
    }
    return painted;
}

}  // namespace clsclip::tool
