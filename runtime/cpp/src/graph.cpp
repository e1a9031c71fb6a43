#include "graph.hpp"

#include <bit>
#include <numeric>

#include "errors.hpp"

namespace clsclip {

std::size_t count_of(const Shape& shape) {
    return std::accumulate(shape.begin(), shape.end(), std::size_t{1},
                           [](std::size_t all, std::int64_t one) { return all * static_cast<std::size_t>(one); });
}

std::string text_of_shape(const Shape& shape) {
    std::vector<std::string> numbers;
    for (const std::int64_t one : shape) {
        numbers.push_back(std::to_string(one));
    }
    return text_of("(", joined(numbers), ")");
}

bool all_finite(std::span<const float> values) {
    // All exponent bits are set in infinities and NaN alone; integers, so that no option for fast maths can break it.
    constexpr std::uint32_t kExponent = 0x7F800000;
    std::uint32_t wrong = 0;
    for (const float value : values) {
        wrong |= static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent);
    }
    return wrong == 0;
}

}  // namespace clsclip
