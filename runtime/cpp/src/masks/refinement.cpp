#include "masks/refinement.hpp"

#include <algorithm>
#include <cmath>

#include "images/resize.hpp"

namespace clsclip {

namespace {

constexpr int kRadius = 16;         ///< of the windows, in pixels of the guide
constexpr double kEpsilon = 1e-3;   ///< least variance of a color (0..1) that counts as an edge
constexpr std::size_t kColors = 3;

std::size_t size_of(int value) { return static_cast<std::size_t>(value); }

/// The same grid as PyTorch's `interpolate(..., align_corners=False)`.
AxisPlaces grid(int inputs, int outputs) {
    AxisPlaces places;
    const double scale = static_cast<double>(inputs) / outputs;
    for (int at = 0; at < outputs; ++at) {
        const double center = std::clamp((at + 0.5) * scale - 0.5, 0.0, static_cast<double>(inputs - 1));
        const double low = std::floor(center);
        places.low.push_back(static_cast<std::size_t>(low));
        places.part.push_back(center - low);
    }
    return places;
}

/// Red, green and blue of a window in 0..1.
std::vector<Map> colors_of(const ImageView& image, const Window& window, int width, int height) {
    const std::vector<std::uint8_t> planes = resize(image, window, width, height, Filter::bilinear);
    const std::size_t plane = size_of(width) * size_of(height);
    std::vector<Map> colors;
    for (std::size_t channel = 0; channel < kColors; ++channel) {
        Map color(width, height);
        const std::uint8_t* own = planes.data() + (image.format == PixelFormat::gray ? 0 : channel * plane);
        std::transform(own, own + plane, color.values.begin(), [](std::uint8_t value) { return value / 255.0; });
        colors.push_back(std::move(color));
    }
    return colors;
}

/// Of symmetric matrices (red with red, green and blue, green with green and blue, blue with blue), in the same form.
std::vector<Map> inverses(const std::vector<Map>& covariance) {
    std::vector<Map> inverse = covariance;
    for (std::size_t at = 0; at < covariance[0].values.size(); ++at) {
        const auto of = [&](std::size_t part) { return covariance[part].values[at]; };
        const double rr = of(0) + kEpsilon, rg = of(1), rb = of(2), gg = of(3) + kEpsilon, gb = of(4);
        const double bb = of(5) + kEpsilon;
        const double first = gg * bb - gb * gb, second = gb * rb - rg * bb, third = rg * gb - gg * rb;
        const double determinant = rr * first + rg * second + rb * third;
        const std::array parts{first, second, third, rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg};
        for (std::size_t part = 0; part < parts.size(); ++part) {
            inverse[part].values[at] = parts[part] / determinant;
        }
    }
    return inverse;
}

}  // namespace

Map bilinear(const Map& map, const AxisPlaces& rows, const AxisPlaces& columns) {
    const std::size_t wide = size_of(map.width), high = size_of(map.height);
    Map made(static_cast<int>(columns.low.size()), static_cast<int>(rows.low.size()));
    std::vector<double> line(wide);
    auto out = made.values.begin();
    for (std::size_t y = 0; y < rows.low.size(); ++y) {
        const double part = rows.part[y];
        const double* one = map.values.data() + rows.low[y] * wide;
        const double* other = map.values.data() + std::min(rows.low[y] + 1, high - 1) * wide;
        for (std::size_t x = 0; x < wide; ++x) {
            line[x] = one[x] * (1.0 - part) + other[x] * part;
        }
        for (std::size_t x = 0; x < columns.low.size(); ++x) {
            const std::size_t low = columns.low[x];
            *out++ = line[low] * (1.0 - columns.part[x]) + line[std::min(low + 1, wide - 1)] * columns.part[x];
        }
    }
    return made;
}

GuidedFilter::GuidedFilter(const ImageView& image, const Window& window, int width, int height)
    : width_(width), height_(height), fine_(colors_of(image, window, width, height)),
      colors_(colors_of(image, window, coarse_width(), coarse_height())),
      across_(bounds(coarse_width(), std::max(1, kRadius / 2))), down_(bounds(coarse_height(), std::max(1, kRadius / 2))),
      rows_(grid(coarse_height(), height)), columns_(grid(coarse_width(), width)) {
    for (const Map& color : colors_) {
        mean_.push_back(mean(color));
    }
    std::vector<Map> covariance;
    for (std::size_t one = 0; one < kColors; ++one) {
        for (std::size_t other = one; other < kColors; ++other) {
            Map found = product_mean(colors_[one], colors_[other]);
            for (std::size_t at = 0; at < found.values.size(); ++at) {
                found.values[at] -= mean_[one].values[at] * mean_[other].values[at];
            }
            covariance.push_back(std::move(found));
        }
    }
    inverse_ = inverses(covariance);
}

GuidedFilter::Bounds GuidedFilter::bounds(int length, int radius) {
    Bounds found;
    for (int at = 0; at < length; ++at) {
        const int low = std::max(at - radius, 0), high = std::min(at + radius + 1, length);
        found.low.push_back(size_of(low));
        found.high.push_back(size_of(high));
        found.count.push_back(high - low);
    }
    return found;
}

Map GuidedFilter::mean(const Map& map) const {
    const std::size_t wide = size_of(map.width), high = size_of(map.height);
    std::vector<double> sums(wide * (high + 1), 0.0);
    for (std::size_t y = 0; y < high; ++y) {
        for (std::size_t x = 0; x < wide; ++x) {
            sums[(y + 1) * wide + x] = sums[y * wide + x] + map.values[y * wide + x];
        }
    }
    Map made(map.width, map.height);
    std::vector<double> line(wide + 1, 0.0);
    for (std::size_t y = 0; y < high; ++y) {
        for (std::size_t x = 0; x < wide; ++x) {
            line[x + 1] = line[x] + (sums[down_.high[y] * wide + x] - sums[down_.low[y] * wide + x]) / down_.count[y];
        }
        for (std::size_t x = 0; x < wide; ++x) {
            made.values[y * wide + x] = (line[across_.high[x]] - line[across_.low[x]]) / across_.count[x];
        }
    }
    return made;
}

Map GuidedFilter::product_mean(const Map& one, const Map& other) const {
    Map product(one.width, one.height);
    std::transform(one.values.begin(), one.values.end(), other.values.begin(), product.values.begin(),
                   [](double left, double right) { return left * right; });
    return mean(product);
}

std::array<Map, 4> GuidedFilter::planes(const Map& map) const {
    const Map own = mean(map);
    std::vector<Map> together;
    for (std::size_t color = 0; color < kColors; ++color) {
        together.push_back(product_mean(colors_[color], map));
        for (std::size_t at = 0; at < own.values.size(); ++at) {
            together[color].values[at] -= mean_[color].values[at] * own.values[at];
        }
    }
    constexpr std::array<std::array<std::size_t, kColors>, kColors> rows{{{0, 1, 2}, {1, 3, 4}, {2, 4, 5}}};
    std::array<Map, 4> slopes{own, own, own, own};
    for (std::size_t at = 0; at < own.values.size(); ++at) {
        for (std::size_t row = 0; row < kColors; ++row) {
            double sum = 0;
            for (std::size_t color = 0; color < kColors; ++color) {
                sum += inverse_[rows[row][color]].values[at] * together[color].values[at];
            }
            slopes[row].values[at] = sum;
            slopes[kColors].values[at] -= sum * mean_[row].values[at];
        }
    }
    return {mean(slopes[0]), mean(slopes[1]), mean(slopes[2]), mean(slopes[3])};
}

std::vector<float> GuidedFilter::operator()(const Map& map) const {
    const std::array<Map, 4> coarse = planes(map);
    std::array<Map, 4> fine{bilinear(coarse[0], rows_, columns_), bilinear(coarse[1], rows_, columns_),
                            bilinear(coarse[2], rows_, columns_), bilinear(coarse[3], rows_, columns_)};
    std::vector<float> made(fine[0].values.size());
    for (std::size_t at = 0; at < made.size(); ++at) {
        double value = 0;
        for (std::size_t color = 0; color < kColors; ++color) {
            value += fine[color].values[at] * fine_[color].values[at];
        }
        made[at] = static_cast<float>(value + fine[kColors].values[at]);
    }
    return made;
}

}  // namespace clsclip
