/// An ONNX file walked message by message, without an ONNX library.
///
/// Every field of it is seen: what this reader does not know is refused, and so is what is written as no exporter does.
/// What the graph means is checked by graph_rules.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bundle/protobuf.hpp"
#include "graph.hpp"

namespace clsclip {

/// Bytes from which on a tensor is handed to engines beside the graph, and not in it.
inline constexpr std::size_t kSmallTensor = 1024;

/// Where a tensor's bytes lie in another file.
struct ExternalPlace {
    std::string file;
    std::uint64_t offset = 0;
};

/// An initializer, or the value of an attribute.
struct OnnxTensor {
    std::string name;
    int type = 0;  ///< ONNX's number of its type
    Shape shape;
    std::size_t start = 0, end = 0;  ///< of its bytes in the file, as they are in memory
    std::optional<ExternalPlace> place;
    std::optional<std::vector<std::int64_t>> values;  ///< of few whole numbers, which shapes are made of

    [[nodiscard]] std::uint64_t bytes() const;
};

/// An attribute's type, and its value where it matters: whole numbers, or a tensor.
struct OnnxAttribute {
    std::uint64_t type = 0;
    std::variant<std::monostate, std::vector<std::int64_t>, OnnxTensor> value;
};

/// One operation.
struct OnnxNode {
    std::string name, op, domain;
    std::vector<std::string> inputs, outputs;
    std::map<std::string, OnnxAttribute, std::less<>> attributes;
};

/// An input, an output, or what a graph states about a value in it.
struct OnnxValue {
    std::string name;
    int type = 0;
    std::optional<std::vector<std::int64_t>> shape;  ///< -1 for an axis that is open; none if it states none
};

/// How large a graph may be.
struct OnnxBounds {
    std::size_t nodes, tensors, bytes, metadata;
};

/// Parts of the file, one after another.
using Spans = std::vector<std::pair<std::size_t, std::size_t>>;

/// What an ONNX file says.
struct OnnxModel {
    std::uint64_t ir_version = 0;
    std::map<std::string, std::uint64_t> opsets;
    std::vector<OnnxNode> nodes;
    std::vector<OnnxTensor> tensors;
    std::vector<OnnxValue> inputs, outputs, values;
    Spans around;  ///< the model without its graph
    Spans inside;  ///< the graph without the tensors that are handed over beside it
    std::vector<std::size_t> places;  ///< which part of `inside` is a node's
    /// Numbers of the nodes of Clip that leave a bound out, with the type of what they read; known once it is checked.
    std::vector<std::pair<std::size_t, int>> open_clips;
};

/// Bytes of one value; 0 for types that no exporter writes.
[[nodiscard]] std::uint64_t bytes_of_onnx_type(int type);

/// NotOnnxError: it is no ONNX file as exporters write them, or larger than the bounds.
[[nodiscard]] OnnxModel walk_onnx(std::span<const std::uint8_t> data, const OnnxBounds& bounds);

}  // namespace clsclip
