#include "detectors/detections.hpp"

#include <cmath>

#include "detectors/nms.hpp"
#include "errors.hpp"

namespace clsclip {

namespace {

bool is_finite(const Box& box) {
    return std::isfinite(box.left) && std::isfinite(box.top) && std::isfinite(box.right) && std::isfinite(box.bottom);
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
    for (std::size_t at = 0; at < found.boxes.size(); ++at) {
        if (found.scores[at] > static_cast<float>(limits.confidence) && is_finite(found.boxes[at])) {
            sure.boxes.push_back(found.boxes[at]);
            sure.scores.push_back(found.scores[at]);
            sure.classes.push_back(class_number(found.classes[at], spec.names.size()));
        }
    }
    // Before the boxes are cut at the picture's edges, as they were compared in training.
    const std::vector<std::size_t> kept =
        is_suppressed(spec.output_format)
            ? surest(sure.scores, limits.max_detections)
            : keep_best(sure.boxes, sure.scores, sure.classes, limits.iou, limits.max_detections);
    Detections chosen;
    for (const std::size_t at : kept) {
        const Box inside = placed.to_picture(sure.boxes[at]);
        if (inside.right > inside.left && inside.bottom > inside.top) {
            chosen.boxes.push_back(inside);
            chosen.classes.push_back(sure.classes[at]);
            chosen.scores.push_back(sure.scores[at]);
        }
    }
    return chosen;
}

}  // namespace clsclip
