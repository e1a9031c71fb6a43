/// A Clip that leaves a bound out gets it written out: the least or the largest number of its type, as engines take it.
///
/// OpenVINO (2026.4) looks up that number itself, and follows a null pointer where what the Clip reads has no type since it
/// could not be converted, as after a product of sizes that do not fit.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "bundle/onnx_walk.hpp"

namespace clsclip {

/// The graph as it stands in the file, without what is handed over beside it; every Clip has both bounds.
[[nodiscard]] std::string graph_bytes(std::span<const std::uint8_t> data, const OnnxModel& model);

}  // namespace clsclip
