/// From a detector's outputs to the boxes of things in a picture.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"
#include "detectors/layouts.hpp"
#include "detectors/letterbox.hpp"

namespace clsclip {

/// Which boxes are kept.
struct DetectorLimits {
    double confidence = 0.25;          ///< boxes whose score is not above this are dropped
    double iou = 0.7;                  ///< of boxes of one class that overlap more, the surest stays
    std::size_t max_detections = 300;  ///< at most so many boxes, the surest
};

/// What was found in one picture, the surest first.
struct Detections {
    std::vector<Box> boxes;     ///< in pixels, inside the picture and never empty
    std::vector<int> classes;   ///< positions in the detector's names
    std::vector<float> scores;  ///< 0..1
    std::vector<std::string> notes;  ///< about boxes that were dropped, for the user
};

/// The sure boxes that stay, in pixels of the picture.
///
/// DetectorError: the graph named a class that there is not, or its boxes are shares of the input and not pixels.
[[nodiscard]] Detections choose(const DetectorSpec& spec, const Candidates& found, const Placed& placed,
                                const DetectorLimits& limits);

}  // namespace clsclip
