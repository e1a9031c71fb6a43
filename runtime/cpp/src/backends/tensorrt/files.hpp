/// Engines in a folder: <key>.plan, and what it is in <key>.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "graph.hpp"

namespace clsclip {

/// What engines must fit.
struct Machine {
    std::string edition;  ///< "tensorrt" or "tensorrt-rtx"
    std::string version;  ///< of the edition
    std::string gpu;
    std::string compute_capability;  ///< such as "9.0"

    [[nodiscard]] std::string text() const;
};

/// Names of a tensor's axes: C crops, K classes, P pairs; none for fixed ones.
using AxisNames = std::vector<std::optional<char>>;

/// The fewest and the most that one call takes along an axis.
struct AxisRange {
    std::int64_t low = 1;
    std::int64_t high = 1;
};

/// One finished engine that fits the machine, verified.
struct EngineFile {
    std::filesystem::path plan;
    std::string built_for;  ///< for messages
    bool host_code = false;  ///< it carries its own lean runtime
    std::map<std::string, AxisNames> inputs, outputs;
    std::map<char, AxisRange> ranges;
};

/// The engine of an ONNX file in a folder that fits this machine. BackendError: there is none; says which there are and
/// why they do not fit.
[[nodiscard]] EngineFile find_engine(const std::filesystem::path& folder, const GraphFile& graph, const Machine& machine);

}  // namespace clsclip
