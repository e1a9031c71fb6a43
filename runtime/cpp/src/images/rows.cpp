#include "images/rows.hpp"

#include <algorithm>
#include <cstdlib>

#include "errors.hpp"

namespace clsclip {

namespace {

constexpr int white = 255;

/// A channel of a pixel with straight alpha, laid on white: rounded as Pillow does, with 7 more bits than it shows.
int on_white(int value, int alpha) {
    if (alpha == 0) {
        return white;
    }
    constexpr int bits = 7;
    const int sum = (value * alpha + white * (255 - alpha)) * (1 << bits) + (0x80 << bits);
    return (((sum >> 8) + sum) >> 8) >> bits;
}

template <int Step, int Red, int Blue>
void split(const std::uint8_t* pixels, std::size_t count, std::int16_t* red, std::int16_t* green, std::int16_t* blue) {
    for (std::size_t x = 0; x < count; ++x) {
        red[x] = pixels[Step * x + Red];
        green[x] = pixels[Step * x + 1];
        blue[x] = pixels[Step * x + Blue];
    }
}

void lay_on_white(const std::uint8_t* pixels, std::size_t count, std::int16_t* plane, int channel) {
    for (std::size_t x = 0; x < count; ++x) {
        plane[x] = static_cast<std::int16_t>(on_white(pixels[4 * x + static_cast<std::size_t>(channel)],
                                                      pixels[4 * x + 3]));
    }
}

}  // namespace

void check_image(const ImageView& image) {
    const int bytes = bytes_per_pixel(image.format);
    if (bytes == 0) {
        fail<ImageError>("the picture's format is number ", static_cast<int>(image.format),
                         ", which does not exist. Give rgb, bgr, rgba, bgra or grey");
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
    std::int16_t* red = planes;
    std::int16_t* green = planes + plane_size;
    std::int16_t* blue = planes + 2 * plane_size;
    switch (image.format) {
        case PixelFormat::grey: std::copy_n(row, count, planes); return;
        case PixelFormat::rgb: split<3, 0, 2>(row, count, red, green, blue); return;
        case PixelFormat::bgr: split<3, 2, 0>(row, count, red, green, blue); return;
        case PixelFormat::rgba:
        case PixelFormat::bgra: break;
    }
    const int first = image.format == PixelFormat::rgba ? 0 : 2;
    lay_on_white(row, count, red, first);
    lay_on_white(row, count, green, 1);
    lay_on_white(row, count, blue, 2 - first);
}

}  // namespace clsclip
