#include "graph.hpp"

#include <bit>
#include <numeric>

#include "errors.hpp"
#include "protobuf_write.hpp"

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

namespace {

/// Whether a reader could find a place of weights: behind this word, whatever stands before it as its length (8, or 8
/// written longer than it need be).
bool names_a_place(std::string_view bytes) {
    constexpr std::string_view kKey = "location";
    for (std::size_t at = bytes.find(kKey); at != std::string_view::npos; at = bytes.find(kKey, at + 1)) {
        if (at > 0 && (bytes[at - 1] == '\x08' || bytes[at - 1] == '\0')) {
            return true;
        }
    }
    return false;
}

}  // namespace

std::string GraphFile::model(const std::function<Place(const Weight&)>& place) const {
    // A wall that does not parse.
    if (names_a_place(around) || names_a_place(inside)) {
        fail<BackendError>(path, " names a file with weights in a way that was not seen, so it is refused. Get it again "
                           "from a source you trust, or export it again");
    }
    std::string graph = inside;
    for (const Weight& weight : weights) {
        std::string tensor;
        for (const std::int64_t size : weight.shape) {
            put_number(tensor, 1U << 3U);
            put_number(tensor, static_cast<std::uint64_t>(size));
        }
        put_number(tensor, 2U << 3U);
        put_number(tensor, static_cast<std::uint64_t>(weight.type));
        put_field(tensor, 8, weight.name);
        for (const auto& [key, value] : place(weight)) {
            std::string entry;
            put_field(entry, 1, key);
            put_field(entry, 2, value);
            put_field(tensor, 13, entry);
        }
        put_number(tensor, 14U << 3U);
        put_number(tensor, 1);
        put_field(graph, 5, tensor);
    }
    std::string model = around;
    put_field(model, 7, graph);
    return model;
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
