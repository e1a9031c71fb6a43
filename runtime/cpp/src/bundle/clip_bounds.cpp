#include "bundle/clip_bounds.hpp"

#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "protobuf_write.hpp"

namespace clsclip {

namespace {

using namespace std::string_view_literals;

constexpr std::size_t kInputs = 3;

/// The lowest or the largest finite number of a type, little endian.
std::string_view limit(int type, bool lowest) {
    switch (type) {
        case 1: return lowest ? "\xff\xff\x7f\xff"sv : "\xff\xff\x7f\x7f"sv;
        case 10: return lowest ? "\xff\xfb"sv : "\xff\x7b"sv;
        case 16: return lowest ? "\x7f\xff"sv : "\x7f\x7f"sv;
        default: return lowest ? "\0\0\0\0\0\0\0\x80"sv : "\xff\xff\xff\xff\xff\xff\xff\x7f"sv;  // int64
    }
}

std::set<std::string> names_in(const OnnxModel& model) {
    std::set<std::string> names;
    for (const OnnxTensor& one : model.tensors) {
        names.insert(one.name);
    }
    for (const OnnxValue& one : model.inputs) {
        names.insert(one.name);
    }
    for (const OnnxNode& node : model.nodes) {
        names.insert(node.outputs.begin(), node.outputs.end());
    }
    return names;
}

std::string written(const OnnxNode& node, const std::vector<std::string>& inputs) {
    std::string content, field;
    for (const std::string& one : inputs) {
        put_field(content, 1, one);
    }
    for (const std::string& one : node.outputs) {
        put_field(content, 2, one);
    }
    put_field(content, 3, node.name);
    put_field(content, 4, node.op);
    put_field(field, 1, content);
    return field;
}

}  // namespace

std::string graph_bytes(std::span<const std::uint8_t> data, const OnnxModel& model) {
    std::map<std::pair<int, std::size_t>, std::string> bounds;
    std::map<std::size_t, std::string> own;
    const std::set<std::string> names = model.open_clips.empty() ? std::set<std::string>{} : names_in(model);
    for (const auto& [number, type] : model.open_clips) {
        const OnnxNode& node = model.nodes[number];
        std::vector<std::string> inputs = node.inputs;
        inputs.resize(kInputs);
        for (const std::size_t at : {std::size_t{1}, std::size_t{2}}) {
            if (inputs[at].empty()) {
                std::string& name = bounds[{type, at}];
                if (name.empty()) {
                    name = "bound_" + std::to_string(type) + "_" + std::to_string(at);
                    while (names.contains(name)) {
                        name += '_';
                    }
                }
                inputs[at] = name;
            }
        }
        own[model.places[number]] = written(node, inputs);
    }
    std::string all;
    for (std::size_t at = 0; at < model.inside.size(); ++at) {
        if (const auto found = own.find(at); found != own.end()) {
            all += found->second;
        } else {
            const auto& [start, end] = model.inside[at];
            all.append(reinterpret_cast<const char*>(data.data()) + start, end - start);
        }
    }
    for (const auto& [key, name] : bounds) {
        std::string tensor;
        put_number(tensor, 2U << 3U);
        put_number(tensor, static_cast<std::uint64_t>(key.first));
        put_field(tensor, 8, name);
        put_field(tensor, 9, limit(key.first, key.second == 1));
        put_field(all, 5, tensor);
    }
    return all;
}

}  // namespace clsclip
