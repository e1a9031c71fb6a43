/// What a graph takes and gives, compared with the manifest before any engine sees it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.hpp"
#include "bundle/onnx_walk.hpp"

namespace clsclip {

/// A graph's inputs or outputs are not those of its manifest; says which, as the end of a sentence.
class OtherValuesError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The names of a graph's inputs that are no weights.
[[nodiscard]] std::vector<std::string> inputs_of(const OnnxModel& model);

/// Compare types and sizes of inputs and outputs; names are checked when the graph is loaded. OtherValuesError.
void check_values(std::string_view name, const OnnxModel& model, const Manifest& manifest);

}  // namespace clsclip
