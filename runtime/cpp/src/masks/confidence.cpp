#include "masks/confidence.hpp"

#include <algorithm>

namespace clsclip {

namespace {

constexpr double kSlope = 4;  ///< logits fall by so much for each logit that the confidence is short
constexpr double kNothing = 1e-3;

}  // namespace

double confidence(std::span<const float> logits) {
    double sum = 0, squares = 0;
    for (const float one : logits) {
        const double positive = std::max(one, 0.0F);
        sum += positive;
        squares += positive * positive;
    }
    const auto count = static_cast<double>(std::max<std::size_t>(logits.size(), 1));
    return squares / count / (sum / count + kNothing);
}

void lower_faint(std::span<float> logits, double least) {
    const auto missing = static_cast<float>(std::max(least - confidence(logits), 0.0));
    if (missing > 0) {
        for (float& one : logits) {
            one -= static_cast<float>(kSlope) * missing;
        }
    }
}

}  // namespace clsclip
