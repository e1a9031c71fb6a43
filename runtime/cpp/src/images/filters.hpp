/// Weights of a resize along one side, in Pillow's 8-bit fixed-point arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace clsclip {

/// Pillow's resampling filters, as manifests name them.
enum class Filter { nearest, box, bilinear, hamming, bicubic, lanczos };

/// BundleError if there is no filter of this name.
[[nodiscard]] Filter filter_of(std::string_view name);

/// Bits after the point of a weight: a weight of 1 is 1 << weight_bits.
inline constexpr int weight_bits = 22;

/// Which old pixels make every new one, along one side.
///
/// New pixel i is the sum of old pixels first[i] .. first[i] + count[i] - 1 times weights[i * width ..]. Weights behind
/// the count are 0, and old pixels there may not exist.
struct Weights {
    std::vector<int> first;
    std::vector<int> count;
    std::vector<std::int32_t> weights;
    std::size_t width = 0;  ///< places for weights of every new pixel
};

/// Weights of a side of `old_side` pixels made `new_side` long: smoothed when it shrinks. Not for Filter::nearest.
[[nodiscard]] Weights make_weights(Filter filter, int old_side, int new_side);

/// The old pixel of every new one for Filter::nearest; -1 where rounding leaves the picture, and Pillow writes 0.
[[nodiscard]] std::vector<int> nearest_pixels(int old_side, int new_side);

}  // namespace clsclip
