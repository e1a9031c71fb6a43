/// Which files an ONNX graph reads its weights from, found without an ONNX library.
///
/// Backends open the places that a graph names as external data, and not every version keeps them inside the graph's
/// folder. So the runtime looks before it: the protobuf messages that lead to tensors are walked, all else is skipped by
/// length.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <stdexcept>
#include <string>

namespace clsclip {

/// The bytes are not a protobuf message.
class NotOnnxError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Every `location` of external data in an ONNX file's bytes, as the graph writes it. NotOnnxError.
[[nodiscard]] std::set<std::string> external_locations(std::span<const std::uint8_t> model);

}  // namespace clsclip
