#include "detectors/detector.hpp"

#include <algorithm>
#include <utility>

#include "errors.hpp"

namespace clsclip {

void check_detector_options(const Options& options) {
    for (const auto& [name, value] : {std::pair("detector_confidence", options.detector_confidence),
                                      std::pair("detector_iou", options.detector_iou)}) {
        if (!(value >= 0 && value <= 1)) {
            fail<OptionError>(name, " must be a number from 0 to 1, and it is ", value);
        }
    }
    if (options.max_detections < 1) {
        fail<OptionError>("max_detections must be 1 or more, and it is ", options.max_detections);
    }
}

Detector::Detector(const Bundle& bundle, const Backend& backend, const Options& options)
    : spec_(*bundle.manifest.detector),
      limits_{options.detector_confidence, options.detector_iou, static_cast<std::size_t>(options.max_detections)},
      graph_(backend.load(bundle.graph(kDetector))) {
    if (graph_->inputs().size() != 1) {
        fail<DetectorError>("a detector takes one input, and ", kDetector, " takes ", joined(graph_->inputs()),
                            ". Export it again");
    }
}

Proposals Detector::find(const ImageView& image) const {
    // Graphs of a fixed batch get black pictures beside this one; what they find there is not read.
    const std::int64_t pictures = spec_.batch.value_or(1);
    Tensor input{{pictures, 3, spec_.height, spec_.width}, {}};
    input.values.resize(count_of(input.shape));
    const Placed placed = letterbox(image, spec_, input.values.data());
    const Tensors results = graph_->run({{graph_->inputs()[0], input}});
    std::vector<DetectorOutput> outputs;
    for (const std::string& name : graph_->outputs()) {
        const Tensor& result = results.at(name);
        outputs.push_back({result.shape, result.values});
    }
    const auto candidates = read_candidates(spec_, outputs, static_cast<std::size_t>(pictures));
    Detections found = choose(spec_, candidates.at(0), placed, limits_);
    Proposals proposals{std::move(found.boxes), std::move(found.scores), std::move(found.classes), spec_.names,
                        std::string(kDetector), std::move(found.notes)};
    if (spec_.class_agnostic) {
        proposals.forget_names();
    }
    return proposals;
}

}  // namespace clsclip
