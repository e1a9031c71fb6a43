#include "inference/domain.hpp"

#include <cmath>

#include "errors.hpp"

namespace clsclip {

double domain_part(std::span<const float> feature, std::span<const double> weights) {
    const std::size_t width = weights.size() / 2, places = feature.size() / width;
    const auto count = static_cast<double>(places);
    double part = 0;
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
        part += weights[at] * mean + weights[width + at] * std::sqrt(squares / count);
    }
    return part;
}

bool is_far(const DomainSpec& domain, const Tensors& features, std::size_t row) {
    if (!domain.test) {
        return false;
    }
    double score = domain.test->bias;
    for (const auto& [name, weights] : domain.test->weights) {
        const auto found = features.find(name);
        if (found == features.end()) {
            return false;
        }
        score += domain_part(found->second.row(row), weights);
    }
    return score > 0;
}

std::string domain_note(const DomainSpec& domain) {
    return text_of("this image is unlike what the model knows (", domain.name, ": ", domain.description,
                   "). Its masks mean little here; use a model that was trained on such images");
}

}  // namespace clsclip
