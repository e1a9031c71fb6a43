#include "bundle/graph_inputs.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bundle/bundle.hpp"
#include "errors.hpp"

namespace clsclip {

namespace {

constexpr std::int64_t kOpen = -1;

using Wanted = std::pair<int, std::vector<std::int64_t>>;

/// Type and shape of a graph's values by the manifest.
std::map<std::string, Wanted> values_of(std::string_view name, const Manifest& manifest) {
    constexpr int kFloat = 1, kInt64 = 7;
    const std::int64_t size = manifest.image.size;
    std::map<std::string, Wanted> known{
        {"pixel_values", {kFloat, {kOpen, 3, size, size}}},
        {"token_ids", {kInt64, {kOpen, manifest.text.context_length}}},
        {"crop_index", {kInt64, {kOpen}}},
        {"class_index", {kInt64, {kOpen}}},
        {"mask_logits", {kFloat, {kOpen, manifest.mask.height, manifest.mask.width}}},
        {"presence", {kFloat, name == kPresence ? std::vector{kOpen, kOpen} : std::vector{kOpen}}},
    };
    for (const auto* features : {&manifest.features, &manifest.text.features}) {
        for (const FeatureSpec& one : *features) {
            known[one.name] = {kFloat, one.with_rows(kOpen)};
        }
    }
    return known;
}

bool fits(const OnnxValue& value, const Wanted& wanted) {
    const auto& [type, shape] = wanted;
    return value.type == type && value.shape && value.shape->size() == shape.size() &&
           std::equal(shape.begin(), shape.end(), value.shape->begin(), [](std::int64_t own, std::int64_t stated) {
               return own == kOpen || stated == kOpen || own == stated;
           });
}

/// The inputs that are no weights: graphs of an old format list those too.
std::vector<const OnnxValue*> fed(const OnnxModel& model) {
    std::set<std::string> weights;
    for (const OnnxTensor& one : model.tensors) {
        weights.insert(one.name);
    }
    std::vector<const OnnxValue*> inputs;
    for (const OnnxValue& one : model.inputs) {
        if (!weights.contains(one.name)) {
            inputs.push_back(&one);
        }
    }
    return inputs;
}

}  // namespace

std::vector<std::string> inputs_of(const OnnxModel& model) {
    std::vector<std::string> names;
    for (const OnnxValue* one : fed(model)) {
        names.push_back(one->name);
    }
    return names;
}

void check_values(std::string_view name, const OnnxModel& model, const Manifest& manifest) {
    const std::vector<const OnnxValue*> inputs = fed(model);
    if (name == kDetector) {
        if (const auto& spec = manifest.detector) {
            const Wanted wanted{spec->input_type == "float16" ? 10 : 1,
                                {spec->batch ? *spec->batch : kOpen, 3, spec->height, spec->width}};
            if (inputs.size() != 1 || !fits(*inputs[0], wanted)) {
                throw OtherValuesError("takes other inputs than its manifest says");
            }
        }
        return;
    }
    const std::map<std::string, Wanted> known = values_of(name, manifest);
    const auto check = [&](const OnnxValue& value) {
        const auto found = known.find(value.name);
        if (found == known.end() ? value.type != 1 && value.type != 7 : !fits(value, found->second)) {
            throw OtherValuesError(text_of("has ", value.name, " of another type or shape than its manifest says"));
        }
    };
    for (const OnnxValue* one : inputs) {
        check(*one);
        const auto found = known.find(one->name);
        if (found == known.end()) {
            continue;
        }
        const std::vector<std::int64_t>& wanted = found->second.second;
        for (std::size_t at = 0; at < wanted.size(); ++at) {  // engines take one that is fixed at their word
            if (wanted[at] == kOpen && one->shape->at(at) != kOpen) {
                throw OtherValuesError(
                    text_of("takes ", one->name, " with a first axis of a fixed size, and it must be open"));
            }
        }
    }
    std::for_each(model.outputs.begin(), model.outputs.end(), check);
}

}  // namespace clsclip
