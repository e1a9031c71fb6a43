#include "bundle/trust.hpp"

#include <cmath>
#include <cstdio>

#include "errors.hpp"

namespace clsclip {

namespace {

const Json& mapping(const Json& document, const char* key) {
    static const Json kEmpty = Json::object();
    const auto found = document.find(key);
    return found != document.end() && found->is_object() ? *found : kEmpty;
}

std::optional<double> number(const Json& document, const char* key) {
    constexpr double kExact = 9007199254740992.0;  // 2^53
    const auto found = document.find(key);
    if (found == document.end() || !found->is_number()) {
        return std::nullopt;
    }
    const auto value = found->get<double>();
    return std::isfinite(value) && std::abs(value) < kExact ? std::optional(value) : std::nullopt;
}

/// A whole number with commas between thousands; none where it is no count.
std::optional<std::string> count(const Json& document, const char* key) {
    const std::optional<double> value = number(document, key);
    if (!value || *value < 0 || *value != std::floor(*value)) {
        return std::nullopt;
    }
    const std::string plain = std::to_string(static_cast<long long>(*value));
    std::string digits;
    for (std::size_t at = 0; at < plain.size(); ++at) {
        if (at > 0 && (plain.size() - at) % 3 == 0) {
            digits.push_back(',');
        }
        digits.push_back(plain[at]);
    }
    return digits;
}

std::string counted(const std::string& digits, const char* unit) {
    return text_of(digits, " ", unit, digits == "1" ? "" : "s");
}

std::string fixed(double value, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

std::string trust_line(const Json& manifest) {
    const Json& provenance = mapping(manifest, "provenance");
    const Json& validation = mapping(provenance, "validation");
    std::string trained;
    if (const auto steps = count(provenance, "steps")) {
        trained = text_of("trained ", counted(*steps, "step"));
        if (const auto images = count(provenance, "pictures")) {
            trained = text_of(trained, " on ", counted(*images, "picture"));
        }
    }
    if (provenance.value("random_towers", Json()) == true) {
        trained = text_of(trained.empty() ? std::string("made") : trained, " on random towers, which know no word");
    }
    std::string figures;
    if (const auto miou = number(validation, "miou")) {
        figures = text_of("mIoU ", fixed(*miou, 1));
    }
    if (const auto leakage = number(validation, "leakage")) {
        figures = text_of(figures, figures.empty() ? "leakage " : ", leakage ", fixed(*leakage, 2));
    }
    std::string found = "never validated";
    if (!figures.empty()) {
        const auto images = count(validation, "pictures");
        found = images ? text_of("validation: ", figures, " on ", *images, " pictures")
                       : text_of("validation: ", figures);
    }
    return trained.empty() ? found : text_of(trained, "; ", found);
}

}  // namespace

std::optional<std::string> doubt_of(const Json& manifest) {
    const Json& provenance = mapping(manifest, "provenance");
    const bool validated = number(mapping(provenance, "validation"), "miou").has_value();
    if (validated && provenance.value("random_towers", Json()) != true) {
        return std::nullopt;
    }
    return text_of("nobody knows how good the masks of this model are: ", trust_line(manifest));
}

}  // namespace clsclip
