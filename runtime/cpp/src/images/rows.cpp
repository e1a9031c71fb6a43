#include "images/rows.hpp"

#include <algorithm>
#include <utility>

#include "errors.hpp"
#include "images/fast.hpp"

namespace clsclip {

namespace {

constexpr int white = 255;

/// A channel of a pixel with straight alpha, laid on white: rounded as Pillow does, with 7 more bits than it shows.
inline std::int16_t on_white(int value, int alpha) {
    constexpr int bits = 7;
    const int sum = (value * alpha + white * (255 - alpha)) * (1 << bits) + (0x80 << bits);
    return static_cast<std::int16_t>((((sum >> 8) + sum) >> 8) >> bits);
}

CLSCLIP_FAST void split(const std::uint8_t* __restrict pixels, std::size_t count, std::int16_t* __restrict first,
                        std::int16_t* __restrict second, std::int16_t* __restrict third) {
    for (std::size_t x = 0; x < count; ++x) {
        first[x] = pixels[3 * x];
        second[x] = pixels[3 * x + 1];
        third[x] = pixels[3 * x + 2];
    }
}

CLSCLIP_FAST void split_on_white(const std::uint8_t* __restrict pixels, std::size_t count,
                                 std::int16_t* __restrict first, std::int16_t* __restrict second,
                                 std::int16_t* __restrict third) {
    for (std::size_t x = 0; x < count; ++x) {
        const int alpha = pixels[4 * x + 3];
        first[x] = on_white(pixels[4 * x], alpha);
        second[x] = on_white(pixels[4 * x + 1], alpha);
        third[x] = on_white(pixels[4 * x + 2], alpha);
    }
}

}  // namespace

void check_image(const ImageView& image) {
    const int bytes = bytes_per_pixel(image.format);
    if (bytes == 0) {
        fail<ImageError>("the picture's format is number ", static_cast<int>(image.format),
                         ", which does not exist. Give rgb, bgr, rgba, bgra or gray");
    }
    if (image.data == nullptr || image.width < 1 || image.height < 1) {
        fail<ImageError>("the picture has no pixels (", image.width, "x", image.height,
                         image.data == nullptr ? ", no data" : "", "). Give a decoded picture");
    }
    if (image.width > max_side || image.height > max_side) {
        fail<ImageError>("the picture is ", image.width, "x", image.height, ", and sides are limited to ", max_side,
                         " pixels. Shrink it, or give it in parts");
    }
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(image.width) * bytes;
    if (image.height > 1 && image.stride < row && image.stride > -row) {
        fail<ImageError>("the picture's stride is ", image.stride, " bytes, and a row of ", image.width, " pixels has ",
                         row, ". Give the bytes from one row to the next");
    }
}

void check_window(const ImageView& image, const Window& window) {
    const bool inside = window.left >= 0 && window.top >= 0 && window.right <= image.width &&
                        window.bottom <= image.height;
    if (!inside || window.left >= window.right || window.top >= window.bottom) {
        fail<ImageError>("the window ", window.left, ",", window.top, ",", window.right, ",", window.bottom,
                         " is not in the picture of ", image.width, "x", image.height,
                         ". Give xyxy in whole pixels, inside the picture");
    }
}

void read_row(const ImageView& image, int y, int left, int right, std::int16_t* planes, std::size_t plane_size) {
    const std::uint8_t* row = image.data + static_cast<std::ptrdiff_t>(y) * image.stride +
                              static_cast<std::ptrdiff_t>(left) * bytes_per_pixel(image.format);
    const auto count = static_cast<std::size_t>(right - left);
    std::int16_t* green = planes + plane_size;
    std::int16_t* red = planes;
    std::int16_t* blue = planes + 2 * plane_size;
    if (image.format == PixelFormat::bgr || image.format == PixelFormat::bgra) {
        std::swap(red, blue);
    }
    switch (image.format) {
        case PixelFormat::gray: std::copy_n(row, count, planes); break;
        case PixelFormat::rgb:
        case PixelFormat::bgr: split(row, count, red, green, blue); break;
        case PixelFormat::rgba:
        case PixelFormat::bgra: split_on_white(row, count, red, green, blue); break;
    }
}

}  // namespace clsclip
