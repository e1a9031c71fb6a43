/// What a graph may be: two lists, one for bundles and one for detectors, of all that real exporters write.
///
/// graph_rules.json has them, for the Python runtime too. A graph with another operator, attribute or type of values, or
/// one whose nodes do not fit together, never reaches an engine: engines are no walls.
#pragma once

#include <stdexcept>

#include "bundle/onnx_walk.hpp"

namespace clsclip {

/// A graph is not among what exporters are known to write; the message continues "trunk.onnx ...".
class UnknownGraphError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct GraphRules;

/// What this project's exporters write.
[[nodiscard]] const GraphRules& bundle_rules();
/// What the exporters of the supported detectors write.
[[nodiscard]] const GraphRules& detector_rules();

/// Walk an ONNX file and hold it to a list. NotOnnxError or UnknownGraphError.
[[nodiscard]] OnnxModel checked_onnx(std::span<const std::uint8_t> data, const GraphRules& rules);

}  // namespace clsclip
