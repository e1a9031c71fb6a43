#include "bundle/graph_rules.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "bundle/divisions.hpp"
#include "errors.hpp"
#include "shared_data.hpp"
#include "unicode/names.hpp"

namespace clsclip {

namespace {

constexpr int kFloat = 1, kInt64 = 7, kHalf = 10;
constexpr std::uint64_t kInt = 2;  ///< of an attribute
/// Of a tensor that is made of a shape in the file.
constexpr double kMostValues = 1 << 26;
/// Of a kernel, a stride and the like.
constexpr std::int64_t kMostSize = 1 << 16, kMostAxis = 16, kMostNumber = (std::int64_t{1} << 31) - 1;

using Types = std::vector<int>;

struct OperatorRules {
    std::size_t least_inputs, most_inputs, least_outputs, most_outputs;
    std::set<std::size_t> optional;                                        ///< inputs that may be left out
    std::map<std::string, std::set<std::uint64_t>, std::less<>> attributes;  ///< types by name
    std::set<std::string> required;                                        ///< attributes without which it means nothing
    std::map<Types, std::set<Types>> types;                                ///< of outputs, by those of inputs
};

Types read_types(std::string_view text, bool as_half) {
    Types found;
    while (!text.empty()) {
        const std::size_t comma = std::min(text.find(','), text.size());
        const int type = std::stoi(std::string(text.substr(0, comma)));
        found.push_back(as_half && type == kFloat ? kHalf : type);
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return found;
}

OperatorRules read_operator(const Json& document) {
    OperatorRules found{document.at("inputs").at(0), document.at("inputs").at(1), document.at("outputs").at(0),
                        document.at("outputs").at(1), document.at("optional").get<std::set<std::size_t>>(),
                        {}, document.at("required").get<std::set<std::string>>(), {}};
    for (const auto& [name, types] : document.at("attributes").items()) {
        found.attributes[name] = types.get<std::set<std::uint64_t>>();
    }
    for (const Json& one : document.at("types")) {
        const std::string_view text = one.get_ref<const std::string&>();
        const std::size_t between = text.find('>');
        for (const bool as_half : {false, true}) {  // what is there for single precision is there for half
            found.types[read_types(text.substr(0, between), as_half)].insert(
                read_types(text.substr(between + 1), as_half));
        }
    }
    return found;
}

}  // namespace

struct GraphRules {
    std::uint64_t least_format, most_format, least_opset, most_opset;
    std::set<int> element_types;
    OnnxBounds bounds;
    std::map<std::string, OperatorRules, std::less<>> operators;

    explicit GraphRules(const Json& document)
        : least_format(document.at("ir_versions").at(0)), most_format(document.at("ir_versions").at(1)),
          least_opset(document.at("opsets").at(0)), most_opset(document.at("opsets").at(1)),
          element_types(document.at("element_types").get<std::set<int>>()),
          bounds{document.at("bounds").at("nodes"), document.at("bounds").at("tensors"),
                 document.at("bounds").at("bytes"), std::size_t{1} << 20} {
        for (const auto& [name, one] : document.at("operators").items()) {
            operators.emplace(name, read_operator(one));
        }
    }
};

namespace {

bool any_number_of_inputs(std::string_view op) {
    return op == "Concat" || op == "Max" || op == "Min" || op == "Sum" || op == "Mean";
}

/// Which input of an operator is a shape; of Concat all may be parts of one.
std::optional<std::size_t> shape_input(std::string_view op) {
    return op == "ConstantOfShape" ? std::optional<std::size_t>(0)
           : op == "Expand" || op == "Tile" ? std::optional<std::size_t>(1)
                                            : std::nullopt;
}

/// The least size that an attribute may give; none for attributes that give no sizes.
std::optional<std::int64_t> least_size(std::string_view attribute) {
    constexpr std::array counts{"group", "blocksize", "kernel_shape", "strides", "dilations"};
    return attribute == "pads"                                              ? std::optional<std::int64_t>(0)
           : std::find(counts.begin(), counts.end(), attribute) != counts.end() ? std::optional<std::int64_t>(1)
                                                                            : std::nullopt;
}

/// Whether an attribute numbers axes, of which there are few.
bool numbers_axes(std::string_view attribute) {
    constexpr std::array known{"axis", "axes", "batch_dims", "perm", "start", "end"};
    return std::find(known.begin(), known.end(), attribute) != known.end();
}

/// The type of what a node gives, where an attribute states it.
std::optional<int> stated_type(const OnnxNode& node) {
    const auto tensor_type = [&](std::string_view name) -> std::optional<int> {
        const auto found = node.attributes.find(name);
        const auto* tensor = found == node.attributes.end() ? nullptr : std::get_if<OnnxTensor>(&found->second.value);
        return tensor == nullptr ? std::nullopt : std::optional(tensor->type);
    };
    if (node.op == "Cast") {
        const auto to = node.attributes.find("to");
        const auto* numbers =
            to == node.attributes.end() ? nullptr : std::get_if<std::vector<std::int64_t>>(&to->second.value);
        return numbers == nullptr || numbers->size() != 1 || numbers->front() < 0 || numbers->front() > 64
                   ? 0
                   : static_cast<int>(numbers->front());
    }
    if (node.op == "ConstantOfShape") {
        return tensor_type("value").value_or(kFloat);
    }
    if (node.op == "Constant") {
        if (const auto type = tensor_type("value")) {
            return type;
        }
        for (const auto& [name, type] : {std::pair("value_float", kFloat), std::pair("value_floats", kFloat),
                                         std::pair("value_int", kInt64), std::pair("value_ints", kInt64)}) {
            if (node.attributes.contains(name)) {
                return type;
            }
        }
        return 0;
    }
    return std::nullopt;
}

/// Follows values through a graph: every one has a name of its own, and a type.
class Check {
public:
    Check(const OnnxModel& model, const GraphRules& rules) : model_(model), rules_(rules) {}

    /// What was found: Clips with open bounds.
    std::vector<std::pair<std::size_t, int>> run() {
        for (const OnnxTensor& tensor : model_.tensors) {
            define(tensor.name, tensor.type);
            if (tensor.values) {
                known_[tensor.name] = *tensor.values;
            }
        }
        for (const OnnxValue& value : model_.inputs) {
            if (!types_.contains(value.name)) {  // graphs of an old format list their weights among the inputs
                define(value.name, value.type);
            }
        }
        check_axes(model_.inputs);
        check_axes(model_.outputs);
        for (const auto& [unused, type] : types_) {
            if (!rules_.element_types.contains(type)) {
                throw UnknownGraphError(text_of("has values of ONNX's type ", type));
            }
        }
        std::vector<std::pair<std::size_t, int>> open_clips;
        for (std::size_t at = 0; at < model_.nodes.size(); ++at) {
            const OnnxNode& node = model_.nodes[at];
            check(node);
            const auto& inputs = node.inputs;
            if (node.op == "Clip" && (inputs.size() < 3 || inputs[1].empty() || inputs[2].empty())) {
                open_clips.emplace_back(at, types_.at(inputs[0]));
            }
        }
        check_stated(model_.inputs, false);
        check_stated(model_.outputs, false);
        check_stated(model_.values, true);
        std::set<std::string> outputs;
        for (const OnnxValue& value : model_.outputs) {
            outputs.insert(value.name);
        }
        if (outputs.empty() || outputs.size() != model_.outputs.size()) {
            throw NotOnnxError("it has no outputs, or two of one name");
        }
        return open_clips;
    }

private:
    void define(const std::string& name, int type) {
        if (name.empty() || !types_.emplace(name, type).second) {
            throw NotOnnxError(text_of("the name ", shown(name), " stands for two values"));
        }
    }

    void check_axes(const std::vector<OnnxValue>& values) const {
        constexpr std::int64_t most = (std::int64_t{1} << 31) - 1;
        for (const OnnxValue& value : values) {
            for (const std::int64_t size : value.shape.value_or(std::vector<std::int64_t>{})) {
                if (size != -1 && (size < 1 || size > most)) {
                    throw UnknownGraphError(
                        text_of("takes or gives ", shown(value.name), " with an axis of a size that none has"));
                }
            }
        }
    }

    void check_stated(const std::vector<OnnxValue>& values, bool may_be_gone) const {
        for (const OnnxValue& value : values) {
            const auto found = types_.find(value.name);
            if (found == types_.end() ? !may_be_gone : found->second != value.type) {
                throw NotOnnxError(text_of("the value ", shown(value.name), " is said to be of type ", value.type,
                                           ", and is not"));
            }
        }
    }

    void check(const OnnxNode& node) {
        const auto found = rules_.operators.find(node.op);
        if (found == rules_.operators.end() || !(node.domain.empty() || node.domain == "ai.onnx")) {
            throw UnknownGraphError(text_of("uses the operator ", shown(node.op),
                                            node.domain.empty() ? "" : " of " + shown(node.domain)));
        }
        const OperatorRules& rules = found->second;
        if (node.inputs.size() < rules.least_inputs || node.inputs.size() > rules.most_inputs ||
            node.outputs.size() < rules.least_outputs || node.outputs.size() > rules.most_outputs) {
            throw UnknownGraphError(text_of("gives ", node.op, " ", node.inputs.size(), " inputs and ",
                                            node.outputs.size(), " outputs"));
        }
        for (const auto& [name, attribute] : node.attributes) {
            const auto types = rules.attributes.find(name);
            if (types == rules.attributes.end() || !types->second.contains(attribute.type)) {
                throw UnknownGraphError(text_of("gives ", node.op, " the attribute ", shown(name), " of type ",
                                                attribute.type));
            }
            check_size(node, name, attribute);
        }
        for (const std::string& name : rules.required) {
            if (!node.attributes.contains(name)) {
                throw UnknownGraphError(text_of("gives ", node.op, " no attribute ", name));
            }
        }
        Types inputs;
        for (std::size_t at = 0; at < node.inputs.size(); ++at) {
            const std::string& name = node.inputs[at];
            const auto type = types_.find(name);
            if (name.empty() ? !rules.optional.contains(at) : type == types_.end()) {
                throw NotOnnxError(text_of(node.op, " reads ", shown(name), ", which nothing before it gives"));
            }
            inputs.push_back(name.empty() ? 0 : type->second);
        }
        const Types outputs = outputs_of(node, rules, inputs);
        for (std::size_t at = 0; at < node.outputs.size(); ++at) {
            if (!node.outputs[at].empty()) {
                const std::size_t place = node.op == "Split" ? 0 : at;
                define(node.outputs[at], place < outputs.size() ? outputs[place] : 0);
            }
        }
        if (!inputs.empty() && inputs[0] == kInt64) {
            divisions_.check(node);
        }
        divisions_.note(node);
        check_sizes(node);
    }

    /// Engines divide by strides, take memory for kernels, and count up to other numbers. What a Constant gives is a value
    /// as any other.
    static void check_size(const OnnxNode& node, const std::string& name, const OnnxAttribute& attribute) {
        const auto size = least_size(name);
        const auto* numbers = std::get_if<std::vector<std::int64_t>>(&attribute.value);
        if (numbers == nullptr || node.op == "Constant") {
            return;
        }
        const std::int64_t most = size ? kMostSize : numbers_axes(name) ? kMostAxis : kMostNumber;
        const std::int64_t least = size.value_or(-most);
        const bool left_out = attribute.type == kInt && numbers->empty();  // it is zero then
        if ((left_out && least > 0) || std::any_of(numbers->begin(), numbers->end(), [&](std::int64_t one) {
                return one < least || one > most;
            })) {
            throw UnknownGraphError(text_of("gives ", node.op, " the attribute ", shown(name), " with a ",
                                            size ? "size" : "number", " that none has"));
        }
    }

    static Types outputs_of(const OnnxNode& node, const OperatorRules& rules, Types inputs) {
        if (any_number_of_inputs(node.op) && std::set<int>(inputs.begin(), inputs.end()).size() == 1) {
            inputs.resize(1);
        }
        while (!inputs.empty() && inputs.back() == 0) {
            inputs.pop_back();
        }
        const auto found = rules.types.find(inputs);
        if (found == rules.types.end()) {
            throw UnknownGraphError(text_of("gives ", node.op, " inputs of other types than are known"));
        }
        std::vector<Types> left;
        const std::optional<int> stated = stated_type(node);
        for (const Types& one : found->second) {
            if (!stated || (!one.empty() && one[0] == *stated)) {
                left.push_back(one);
            }
        }
        if (left.size() != 1) {
            throw UnknownGraphError(text_of("has a ", node.op, " that gives the type ", stated.value_or(0)));
        }
        return left.front();
    }

    /// A shape in the file may not make much of little. What is computed from the inputs may: a graph computes.
    void check_sizes(const OnnxNode& node) {
        if (node.op == "Constant") {
            const auto& [unused, attribute] = *node.attributes.begin();
            if (const auto* tensor = std::get_if<OnnxTensor>(&attribute.value); tensor != nullptr && tensor->values) {
                known_[node.outputs[0]] = *tensor->values;
            } else if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(&attribute.value)) {
                known_[node.outputs[0]] = *numbers;
            }
        } else if (node.op == "Range") {
            const double start = first_of(node.inputs[0], 0), stop = first_of(node.inputs[1], start);
            const double step = std::max(1.0, std::abs(first_of(node.inputs[2], 1)));
            if (std::abs(stop - start) / step > kMostValues) {
                throw UnknownGraphError("makes a Range of too many numbers");
            }
        } else if (node.op == "Concat" && types_.at(node.inputs[0]) == kInt64) {
            std::vector<std::int64_t> values;
            bool all = true;
            for (const std::string& name : node.inputs) {
                const auto found = known_.find(name);
                all = all && found != known_.end();
                if (found != known_.end()) {
                    values.insert(values.end(), found->second.begin(), found->second.end());
                }
            }
            check_product(values, node.op);
            if (all && values.size() <= 64) {
                known_[node.outputs[0]] = values;
            }
        } else if (const auto at = shape_input(node.op); at && *at < node.inputs.size()) {
            if (const auto found = known_.find(node.inputs[*at]); found != known_.end()) {
                check_product(found->second, node.op);
            }
        }
    }

    [[nodiscard]] double first_of(const std::string& name, double otherwise) const {
        const auto found = known_.find(name);
        return found == known_.end() || found->second.empty() ? otherwise : static_cast<double>(found->second[0]);
    }

    static void check_product(const std::vector<std::int64_t>& values, const std::string& op) {
        double product = 1;
        for (const std::int64_t value : values) {
            if (value < std::int64_t{1} << 62) {
                product *= std::max(1.0, std::abs(static_cast<double>(value)));
            }
        }
        if (product > kMostValues) {
            throw UnknownGraphError(text_of("makes a tensor of too many values by ", op));
        }
    }

    const OnnxModel& model_;
    const GraphRules& rules_;
    std::map<std::string, int> types_;
    Divisions::Known known_;
    Divisions divisions_{known_};
};

}  // namespace

const GraphRules& bundle_rules() {
    static const GraphRules rules(graph_rules().at("bundles"));
    return rules;
}

const GraphRules& detector_rules() {
    static const GraphRules rules(graph_rules().at("detectors"));
    return rules;
}

OnnxModel checked_onnx(std::span<const std::uint8_t> data, const GraphRules& rules) {
    OnnxModel model = walk_onnx(data, rules.bounds);
    if (model.ir_version < rules.least_format || model.ir_version > rules.most_format) {
        throw UnknownGraphError(text_of("has the ONNX format ", model.ir_version, ", and ", rules.least_format, " to ",
                                        rules.most_format, " are known"));
    }
    const auto own = model.opsets.find("");
    if (model.opsets.size() != 1 || own == model.opsets.end() || own->second < rules.least_opset ||
        own->second > rules.most_opset) {
        throw UnknownGraphError(text_of("needs other operator sets than ", rules.least_opset, " to ", rules.most_opset,
                                        " of ai.onnx"));
    }
    model.open_clips = Check(model, rules).run();
    return model;
}

}  // namespace clsclip
