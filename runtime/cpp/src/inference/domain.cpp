#include "inference/domain.hpp"

#include <cmath>

#include "errors.hpp"

namespace clsclip {

double domain_score(std::span<const float> feature, std::span<const double> weights, double bias) {
    const std::size_t width = weights.size() / 2, places = feature.size() / width;
    const auto count = static_cast<double>(places);
    double score = bias;
    for (std::size_t at = 0; at < width; ++at) {
        double mean = 0, squares = 0;
        for (std::size_t place = 0; place < places; ++place) {
            mean += feature[place * width + at];
        }
        mean /= count;
        for (std::size_t place = 0; place < places; ++place) {
            const double off = feature[place * width + at] - mean;
            squares += off * off;
        }
        score += weights[at] * mean + weights[width + at] * std::sqrt(squares / count);
    }
    return score;
}

bool is_far(const DomainSpec& domain, const Tensors& features, std::size_t row) {
    if (!domain.test) {
        return false;
    }
    const auto found = features.find(domain.test->feature);
    return found != features.end() && domain_score(found->second.row(row), domain.test->weights, domain.test->bias) > 0;
}

std::string domain_note(const DomainSpec& domain) {
    return text_of("this image is unlike what the model knows (", domain.name, ": ", domain.description,
                   "). Its masks mean little here; use a model that was trained on such images");
}

}  // namespace clsclip
