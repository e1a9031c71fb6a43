#include "detectors/detections.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "detectors/nms.hpp"
#include "errors.hpp"

namespace clsclip {

namespace {

bool is_finite(const Box& box) {
    return std::isfinite(box.left) && std::isfinite(box.top) && std::isfinite(box.right) && std::isfinite(box.bottom);
}

/// How far boxes of things at the picture's edges reach beyond it, as shares.
constexpr float kShareSlack = 0.5F;

/// DetectorError if sure boxes in pixels look like shares of the input: an unknown family of detectors.
void check_unit(const DetectorSpec& spec, const std::vector<Box>& boxes) {
    const auto is_share = [](float value) { return value >= -kShareSlack && value <= 1 + kShareSlack; };
    const auto all_shares = [&](const Box& box) {
        return is_share(box.left) && is_share(box.top) && is_share(box.right) && is_share(box.bottom);
    };
    if (!in_shares(spec.output_format) && !boxes.empty() && std::all_of(boxes.begin(), boxes.end(), all_shares)) {
        fail<DetectorError>("all boxes of the detector lie within one pixel of its input: they are shares of it, which "
                            "the layout ", spec.output_format,
                            " does not have. Name the right layout, rtdetr, and export the bundle again");
    }
}

void note_left_out(Detections& chosen, std::size_t count, const std::string& why) {
    if (count > 0) {
        chosen.notes.push_back(text_of(count, count > 1 ? " boxes" : " box", " of the detector ", why,
                                       count > 1 ? " were" : " was", " left out"));
    }
}

int class_number(double number, std::size_t names) {
    if (!(number >= 0 && number < static_cast<double>(names) && number == std::floor(number))) {
        fail<DetectorError>("the detector gave the class ", number, ", and there are ", names,
                            " class names. Give the right names, or name the right layout, and export the bundle again");
    }
    return static_cast<int>(number);
}

}  // namespace

Detections choose(const DetectorSpec& spec, const Candidates& found, const Placed& placed,
                  const DetectorLimits& limits) {
    Detections sure;
    std::size_t not_finite = 0;
    for (std::size_t at = 0; at < found.boxes.size(); ++at) {
        if (!(found.scores[at] > static_cast<float>(limits.confidence))) {
            continue;
        }
        if (!is_finite(found.boxes[at])) {
            ++not_finite;
        } else {
            sure.boxes.push_back(found.boxes[at]);
            sure.scores.push_back(found.scores[at]);
            sure.classes.push_back(class_number(found.classes[at], spec.names.size()));
        }
    }
    check_unit(spec, sure.boxes);
    // Before the boxes are cut at the picture's edges, as they were compared in training.
    const bool suppressed = is_suppressed(spec.output_format);
    const std::vector<std::size_t> kept =
        suppressed
            ? surest(sure.scores, limits.max_detections)
            : keep_best(sure.boxes, sure.scores, sure.classes, limits.iou, limits.max_detections);
    Detections chosen;
    std::size_t outside = 0;
    for (const std::size_t at : kept) {
        const Box inside = placed.to_picture(sure.boxes[at]);
        if (inside.right > inside.left && inside.bottom > inside.top) {
            chosen.boxes.push_back(inside);
            chosen.classes.push_back(sure.classes[at]);
            chosen.scores.push_back(sure.scores[at]);
        } else {
            ++outside;
        }
    }
    const auto beyond = [&](std::size_t most) { return sure.boxes.size() > most ? sure.boxes.size() - most : 0; };
    note_left_out(chosen, not_finite, "without finite corners");
    if (suppressed) {
        note_left_out(chosen, beyond(limits.max_detections), text_of("beyond the ", limits.max_detections, " surest"));
    } else {
        note_left_out(chosen, beyond(kMostCandidates),
                      text_of("beyond the ", kMostCandidates, " surest before overlapping ones are dropped"));
    }
    note_left_out(chosen, outside, "outside the picture");
    if (!suppressed && kept.size() == limits.max_detections) {
        chosen.notes.push_back(text_of("the detector's ", limits.max_detections,
                                       " surest boxes were taken; there may be more"));
    }
    return chosen;
}

}  // namespace clsclip
