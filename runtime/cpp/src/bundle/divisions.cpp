#include "bundle/divisions.hpp"

#include <algorithm>
#include <string_view>
#include <variant>

#include "bundle/graph_rules.hpp"
#include "errors.hpp"
#include "unicode/names.hpp"

namespace clsclip {

namespace {

/// The whole numbers of an attribute; none where it is not there.
std::vector<std::int64_t> numbers_of(const OnnxNode& node, std::string_view name) {
    const auto found = node.attributes.find(name);
    const auto* numbers =
        found == node.attributes.end() ? nullptr : std::get_if<std::vector<std::int64_t>>(&found->second.value);
    return numbers == nullptr ? std::vector<std::int64_t>() : *numbers;
}

std::int64_t axis_of(const OnnxNode& node) {
    const auto numbers = numbers_of(node, "axis");
    return numbers.size() == 1 ? numbers[0] : 0;
}

std::int64_t from_start(std::int64_t axis, std::int64_t rank) {
    return axis < 0 ? axis + rank : axis;
}

}  // namespace

void Divisions::check(const OnnxNode& node) const {
    if ((node.op != "Div" && node.op != "Mod") || positive_.contains(node.inputs[1])) {
        return;
    }
    const auto values = known_of(node.inputs[1]);
    if (values.empty() || *std::min_element(values.begin(), values.end()) < 1) {
        throw UnknownGraphError(text_of("divides whole numbers (node ", shown(node.name), ", ", node.op,
                                        ") by what is not a constant above zero"));
    }
}

void Divisions::note(const OnnxNode& node) {
    if (node.op == "Transpose" && node.attributes.contains("perm")) {
        ranks_[node.outputs[0]] = static_cast<std::int64_t>(numbers_of(node, "perm").size());
    } else if (node.op == "Split" && ranks_.contains(node.inputs[0])) {
        note_parts(node);
    } else if (node.op == "Shape" && node.attributes.empty() && filled_.contains(node.inputs[0])) {
        shapes_[node.outputs[0]] = filled_.at(node.inputs[0]);
    } else if (node.op == "Gather" && shapes_.contains(node.inputs[0]) && axis_of(node) == 0) {
        note_size(node);
    }
}

/// Which of a Split's parts have something along its axis.
void Divisions::note_parts(const OnnxNode& node) {
    const std::int64_t rank = ranks_.at(node.inputs[0]), axis = axis_of(node);
    const auto sizes = node.inputs.size() > 1 ? known_of(node.inputs[1]) : numbers_of(node, "split");
    if (sizes.size() != node.outputs.size() || axis < -rank || axis >= rank) {
        return;
    }
    for (std::size_t at = 0; at < sizes.size(); ++at) {
        if (sizes[at] > 0) {
            filled_[node.outputs[at]] = {rank, from_start(axis, rank)};
        }
    }
}

/// Whether what is taken out of a shape is the size of the axis that is known.
void Divisions::note_size(const OnnxNode& node) {
    const auto [rank, axis] = shapes_.at(node.inputs[0]);
    const auto index = known_of(node.inputs[1]);
    if (index.size() == 1 && index[0] >= -rank && index[0] < rank && from_start(index[0], rank) == axis) {
        positive_.insert(node.outputs[0]);
    }
}

std::vector<std::int64_t> Divisions::known_of(const std::string& name) const {
    const auto found = known_.find(name);
    return found == known_.end() ? std::vector<std::int64_t>() : found->second;
}

}  // namespace clsclip
