#include "regions/proposals.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "text/matching.hpp"
#include "errors.hpp"

namespace clsclip {

namespace {

/// Boxes of 1e39 are cut at the picture's edges like others; what is not finite stays so, and is dropped later.
float near(float value) {
    constexpr float kFar = 1e9F;
    return std::isfinite(value) ? std::clamp(value, -kFar, kFar) : value;
}

}  // namespace

Proposals Proposals::from_boxes(std::span<const GivenBox> given) {
    Proposals all;
    all.source = "boxes";
    for (const GivenBox& one : given) {
        if (!(one.score >= 0 && one.score <= 1)) {
            fail<OptionError>("scores of regions must be numbers from 0 to 1, and one is ", one.score);
        }
        all.boxes.push_back({near(one.box.left), near(one.box.top), near(one.box.right), near(one.box.bottom)});
        all.scores.push_back(one.score);
        const std::array<std::string, 1> name{one.name};
        if (one.name.empty() || is_class_agnostic(name)) {
            all.classes.push_back(kAny);
            continue;
        }
        const auto known = std::find(all.names.begin(), all.names.end(), one.name);
        all.classes.push_back(static_cast<int>(known - all.names.begin()));
        if (known == all.names.end()) {
            all.names.push_back(one.name);
        }
    }
    return all;
}

void Proposals::forget_names() {
    std::fill(classes.begin(), classes.end(), kAny);
    names.clear();
}

}  // namespace clsclip
