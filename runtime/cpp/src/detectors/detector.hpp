/// Running a bundle's detector: a picture in, boxes with a class and a score out.
#pragma once

#include <memory>

#include "graph.hpp"
#include "bundle/bundle.hpp"
#include "clsclip/clsclip.hpp"
#include "detectors/detections.hpp"
#include "text/matching.hpp"
#include "regions/proposals.hpp"

namespace clsclip {

/// OptionError when one of the detector's options makes no sense.
void check_detector_options(const Options& options);

/// A detector in a backend. Safe to share between threads.
class Detector {
public:
    /// BackendError: the backend cannot load it. DetectorError: it takes more than a picture.
    Detector(const Bundle& bundle, const Backend& backend, const Options& options);

    /// What it finds, the surest first, in pixels of the picture; of every class where it knows none.
    ///
    /// DetectorError: the outputs are not of its layout, or are not finite numbers. BackendError: the backend failed.
    [[nodiscard]] Proposals find(const ImageView& image) const;

private:
    DetectorSpec spec_;
    DetectorLimits limits_;
    std::unique_ptr<Graph> graph_;
};

}  // namespace clsclip
