#include "images/filters.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "errors.hpp"

namespace clsclip {

namespace {

// The order of operations is Pillow's: weights that differ in their last bit would round differently.

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double bilinear(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

double hamming(double x) {
    x = std::fabs(x);
    if (x == 0.0) {
        return 1.0;
    }
    if (x >= 1.0) {
        return 0.0;
    }
    x *= std::numbers::pi;
    return std::sin(x) / x * (0.54 + 0.46 * std::cos(x));
}

double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

double sinc(double x) {
    if (x == 0.0) {
        return 1.0;
    }
    x *= std::numbers::pi;
    return std::sin(x) / x;
}

double lanczos(double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }

struct Kernel {
    std::string_view name;
    double (*weight)(double);
    double support;  ///< half its width in pixels, where nothing shrinks
};

constexpr std::array<Kernel, 6> kernels{{
    {"nearest", nullptr, 0.0},
    {"box", box, 0.5},
    {"bilinear", bilinear, 1.0},
    {"hamming", hamming, 1.0},
    {"bicubic", bicubic, 2.0},
    {"lanczos", lanczos, 3.0},
}};

std::int32_t fixed(double weight) {
    const double scaled = weight * (1 << weight_bits);
    return static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

}  // namespace

Filter filter_of(std::string_view name) {
    const auto found = std::find_if(kernels.begin(), kernels.end(), [&](const Kernel& one) { return one.name == name; });
    if (found == kernels.end()) {
        fail<BundleError>("there is no resize filter '", name,
                          "'; this version knows nearest, box, bilinear, hamming, bicubic and lanczos. Upgrade clsclip, "
                          "or export the bundle again");
    }
    return static_cast<Filter>(found - kernels.begin());
}

Weights make_weights(Filter filter, int old_side, int new_side) {
    const Kernel& kernel = kernels[static_cast<std::size_t>(filter)];
    const double scale = static_cast<double>(old_side) / new_side;
    const double stretch = std::max(scale, 1.0);
    const double support = kernel.support * stretch;
    Weights made;
    made.width = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
    made.weights.assign(static_cast<std::size_t>(new_side) * made.width, 0);
    std::vector<double> exact(made.width);
    for (int at = 0; at < new_side; ++at) {
        const double center = (at + 0.5) * scale;
        const int low = std::max(static_cast<int>(center - support + 0.5), 0);
        const int count = std::min(static_cast<int>(center + support + 0.5), old_side) - low;
        double total = 0.0;
        for (int x = 0; x < count; ++x) {
            exact[static_cast<std::size_t>(x)] = kernel.weight((x + low - center + 0.5) * (1.0 / stretch));
            total += exact[static_cast<std::size_t>(x)];
        }
        std::int32_t* own = made.weights.data() + static_cast<std::size_t>(at) * made.width;
        for (int x = 0; x < count; ++x) {
            const double weight = exact[static_cast<std::size_t>(x)];
            own[x] = fixed(total != 0.0 ? weight / total : weight);
        }
        made.first.push_back(low);
        made.count.push_back(count);
    }
    return made;
}

std::vector<int> nearest_pixels(int old_side, int new_side) {
    std::vector<int> pixels;
    const double step = static_cast<double>(old_side) / new_side;
    double at = step * 0.5;
    for (int x = 0; x < new_side; ++x, at += step) {  // added up, as Pillow does
        const int pixel = static_cast<int>(at);
        pixels.push_back(pixel < old_side ? pixel : -1);
    }
    return pixels;
}

}  // namespace clsclip
