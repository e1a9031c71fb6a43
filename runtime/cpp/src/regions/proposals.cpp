#include "regions/proposals.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "errors.hpp"
#include "text/matching.hpp"
#include "unicode/names.hpp"

namespace clsclip {

namespace {

constexpr std::size_t kMostName = std::size_t{1} << 20;

/// Boxes of 1e39 are cut at the picture's edges like others; what is not finite stays so, and is dropped later.
float near(float value) {
    constexpr float kFar = 1e9F;
    return std::isfinite(value) ? std::clamp(value, -kFar, kFar) : value;
}

/// Refuse boxes that are not xyxy in pixels, and note those that end far beyond the image.
void check_form(std::span<const GivenBox> given, int width, int height, std::vector<std::string>& notes) {
    constexpr float kNear = 0.01F;       // how far shares of an image may leave 0..1
    constexpr int kSmall = 4;            // a box of one pixel is no mistake in an image of this size
    constexpr float kFarBeyond = 1.25F;  // detectors and hands leave an image by less
    std::size_t full = 0, shares = 0, far = 0;
    for (std::size_t at = 0; at < given.size(); ++at) {
        const Box& box = given[at].box;
        if (box.right < box.left || box.bottom < box.top) {
            fail<OptionError>("box ", at, " of the regions, [", box.left, ", ", box.top, ", ", box.right, ", ", box.bottom,
                              "], ends before it begins: boxes are x0, y0, x1, y1. If these are x, y, width, height, add "
                              "x and y to the last two");
        }
        const bool finite = std::isfinite(box.left) && std::isfinite(box.top) && std::isfinite(box.right) &&
                            std::isfinite(box.bottom);
        if (!finite || !(box.right > box.left && box.bottom > box.top)) {
            continue;
        }
        ++full;
        shares += box.left >= -kNear && box.top >= -kNear && box.right <= 1 + kNear && box.bottom <= 1 + kNear ? 1 : 0;
        const auto wide = static_cast<float>(width), high = static_cast<float>(height);
        far += box.left < wide && box.top < high &&
                       (box.right > wide * kFarBeyond || box.bottom > high * kFarBeyond) ? 1 : 0;
    }
    if (full > 0 && shares == full && std::min(width, height) > kSmall) {
        fail<OptionError>("all regions lie in 0..1, and boxes are in pixels of the image. If these are shares of it, "
                          "multiply them by its size, ", width, "x", height);
    }
    if (far > 0) {
        notes.push_back(text_of(far, " of ", full, " boxes end far beyond the image of ", width, "x", height,
                                " pixels, and were cut there. In Python boxes are x0, y0, x1, y1, in JSON x, y, width, "
                                "height: check which these are"));
    }
}

}  // namespace

Proposals Proposals::from_boxes(std::span<const GivenBox> given, int width, int height) {
    Proposals all;
    check_form(given, width, height, all.notes);
    all.source = "boxes";
    for (const GivenBox& one : given) {
        if (!(one.score >= 0 && one.score <= 1)) {
            fail<OptionError>("scores of regions must be numbers from 0 to 1, and one is ", one.score);
        }
        if (!one.name.empty() && !is_blank(one.name) && !is_name(one.name, kMostName)) {
            fail<OptionError>("names of regions must have no control characters and line breaks, and one is ",
                              shown(one.name));
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
