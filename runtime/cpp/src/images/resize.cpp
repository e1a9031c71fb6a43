#include "images/resize.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "errors.hpp"
#include "images/passes.hpp"
#include "images/rows.hpp"

namespace clsclip {

namespace {

/// Whether rows are added up before they are shortened, which decides the last bit: Pillow's rule since version 13.
bool across_first(const Window& window, int width, int height) {
    return window.height() > height && window.height() - height > (window.width() - width) * 2;
}

std::vector<std::uint8_t> nearest(const ImageView& image, const Window& window, int width, int height) {
    const auto columns = nearest_pixels(window.width(), width);
    const auto lines = nearest_pixels(window.height(), height);
    const auto count = static_cast<std::size_t>(planes_of(image.format));
    const auto plane = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    const auto old = static_cast<std::size_t>(window.width());
    std::vector<std::uint8_t> made(count * plane, 0);
    std::vector<std::int16_t> row(count * old);
    for (std::size_t y = 0; y < lines.size(); ++y) {
        if (lines[y] < 0) {
            continue;
        }
        read_row(image, window.top + lines[y], window.left, window.right, row.data(), old);
        for (std::size_t x = 0; x < columns.size(); ++x) {
            for (std::size_t c = 0; c < count && columns[x] >= 0; ++c) {
                made[c * plane + y * columns.size() + x] =
                    static_cast<std::uint8_t>(row[c * old + static_cast<std::size_t>(columns[x])]);
            }
        }
    }
    return made;
}

}  // namespace

std::vector<std::uint8_t> resize(const ImageView& image, const Window& window, int width, int height, Filter filter) {
    check_image(image);
    check_window(image, window);
    if (width < 1 || height < 1) {
        fail<ImageError>("a picture cannot be made ", width, "x", height, " pixels. Give sides of 1 or more");
    }
    if (filter == Filter::nearest) {
        return nearest(image, window, width, height);
    }
    const auto planes = static_cast<std::size_t>(planes_of(image.format));
    const auto wide = static_cast<std::size_t>(width);
    const auto plane = wide * static_cast<std::size_t>(height);
    std::vector<std::uint8_t> made(planes * plane);
    const auto keep = [&](std::size_t y, const std::int16_t* row) {
        for (std::size_t c = 0; c < planes; ++c) {
            std::copy_n(row + c * wide, wide, made.begin() + static_cast<std::ptrdiff_t>(c * plane + y * wide));
        }
    };
    const AlongRows along(filter, window.width(), width, planes_of(image.format));
    std::vector<std::int16_t> old(along.row_size(), 0);
    std::vector<std::int16_t> row(planes * wide);
    const auto read = [&](int y) {
        read_row(image, window.top + y, window.left, window.right, old.data(), along.plane_size());
    };
    if (across_first(window, width, height)) {
        AcrossRows across(filter, window.height(), height, old.size(), [&](std::size_t y, const std::int16_t* summed) {
            along(summed, row.data());
            keep(y, row.data());
        });
        for (int y = 0; y < window.height(); ++y) {
            read(y);
            across.add(old.data());
        }
        return made;
    }
    AcrossRows across(filter, window.height(), height, row.size(), keep);
    for (int y = 0; y < window.height(); ++y) {
        read(y);
        along(old.data(), row.data());
        across.add(row.data());
    }
    return made;
}

void preprocess(const ImageView& image, const Window& window, const ImageSpec& spec, float* pixels) {
    const std::vector<std::uint8_t> small = resize(image, window, spec.size, spec.size, filter_of(spec.interpolation));
    const auto plane = static_cast<std::size_t>(spec.size) * static_cast<std::size_t>(spec.size);
    for (std::size_t channel = 0; channel < 3; ++channel) {
        std::array<float, 256> normalized;
        for (std::size_t value = 0; value < normalized.size(); ++value) {
            normalized[value] = (static_cast<float>(value) / 255.0F - static_cast<float>(spec.mean[channel])) /
                                static_cast<float>(spec.std[channel]);
        }
        const std::uint8_t* own = small.data() + (image.format == PixelFormat::gray ? 0 : channel * plane);
        std::transform(own, own + plane, pixels + channel * plane, [&](std::uint8_t value) { return normalized[value]; });
    }
}

}  // namespace clsclip
