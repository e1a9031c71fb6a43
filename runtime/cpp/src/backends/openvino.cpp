/// OpenVINO on the CPU.
#include <openvino/op/constant.hpp>
#include <openvino/openvino.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <map>
#include <mutex>
#include <string_view>

#include "graph.hpp"
#include "backends/numbers.hpp"
#include "errors.hpp"

namespace clsclip {

namespace {

void to_floats(const ov::Tensor& tensor, float* values, const std::string& name) {
    const std::size_t count = tensor.get_size();
    const void* data = tensor.data();
    const ov::element::Type type = tensor.get_element_type();
    if (type == ov::element::f32) {
        std::copy_n(static_cast<const float*>(data), count, values);
    } else if (type == ov::element::f16) {
        copy_as<ov::float16>(data, count, values);
    } else if (type == ov::element::bf16) {
        copy_as<ov::bfloat16>(data, count, values);
    } else if (type == ov::element::f64) {
        copy_as<double>(data, count, values);
    } else if (type == ov::element::i64) {
        copy_as<std::int64_t>(data, count, values);
    } else if (type == ov::element::i32) {
        copy_as<std::int32_t>(data, count, values);
    } else {
        fail<BackendError>(name, " has values of type ", type.get_type_name(),
                           ", which this library does not read. Export the bundle again");
    }
}

Tensor read(const ov::Tensor& tensor, const std::string& name) {
    const ov::Shape shape = tensor.get_shape();
    Tensor read{Shape(shape.begin(), shape.end()), std::vector<float>(tensor.get_size())};
    to_floats(tensor, read.values.data(), name);
    return read;
}

/// A feed as the graph takes it: where it lies, or in a copy of another type.
ov::Tensor as_tensor(const Feed& feed, const ov::element::Type& type, const std::string& name) {
    const ov::Shape shape(feed.shape.begin(), feed.shape.end());
    return std::visit(
        [&](auto values) {
            using Value = typename decltype(values)::value_type;
            if (type == ov::element::from<Value>()) {
                return ov::Tensor(type, shape, const_cast<Value*>(values.data()));
            }
            ov::Tensor copy(type, shape);
            if (type == ov::element::f16) {
                copy_as<Value>(values.data(), values.size(), copy.data<ov::float16>());
            } else if (type == ov::element::i32) {
                copy_as<Value>(values.data(), values.size(), copy.data<std::int32_t>());
            } else if (type == ov::element::f32) {
                copy_as<Value>(values.data(), values.size(), copy.data<float>());
            } else {
                fail<BackendError>("the input ", name, " has the type ", type.get_type_name(),
                                   ", which this library does not feed. Export the bundle again");
            }
            return copy;
        },
        feed.values);
}

/// The name that the ONNX graph gives an output. OpenVINO drops nodes that do nothing and then knows the output by the
/// name before them as well; its result node still has the graph's.
std::string own_name(const ov::Output<const ov::Node>& output) {
    const std::string node = output.get_node()->get_friendly_name();
    const std::string name = node.substr(0, node.rfind("/sink_port_"));
    return output.get_names().contains(name) ? name : output.get_any_name();
}

/// What OpenVINO would do without a word, and what is looked at because of it.
struct Watch {
    std::size_t extra_outputs = 0;              ///< values before they are cut to a range, where NaN still shows
    std::map<std::string, std::size_t> rows{};  ///< by input, the rows its numbers choose from: beyond are zeros
};

bool is_one_of(const ov::Node& node, std::initializer_list<std::string_view> kinds) {
    return std::find(kinds.begin(), kinds.end(), std::string_view(node.get_type_name())) != kinds.end();
}

/// Whether a node gives weights, in whatever precision they are kept.
bool is_constant(const ov::Node* node) {
    while (is_one_of(*node, {"Convert", "Multiply", "Subtract", "FakeQuantize"})) {
        node = node->get_input_node_ptr(0);
    }
    return is_one_of(*node, {"Constant"});
}

/// Add outputs for what is lost at the model's end, and find the inputs that choose rows.
Watch watch_model(ov::Model& model) {
    Watch watch;
    ov::OutputVector hidden;
    for (const auto& result : model.get_results()) {
        ov::Output<ov::Node> value = result->input_value(0);
        bool cuts = false;
        while (true) {
            const ov::Node& node = *value.get_node();
            if (is_one_of(node, {"Clamp", "Relu", "Minimum", "Maximum"})) {
                cuts = true;
            } else if (!is_one_of(node, {"Convert", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity"})) {
                break;
            }
            // A Clip is Minimum(highest, Maximum(lowest, values)): the values are what is not constant.
            const ov::OutputVector given = node.input_values();
            const auto values = std::find_if(given.begin(), given.end(),
                                             [](const auto& one) { return !is_constant(one.get_node()); });
            value = values == given.end() ? given[0] : *values;
        }
        if (cuts && value.get_element_type().is_real()) {
            hidden.push_back(value);
        }
    }
    for (const auto& value : hidden) {
        model.add_output(value);
    }
    watch.extra_outputs = hidden.size();
    for (const auto& parameter : model.get_parameters()) {
        std::vector<ov::Input<ov::Node>> readers;
        const auto add = [&](const ov::Output<ov::Node>& port) {
            for (const auto& target : port.get_target_inputs()) {  // insert() would assign, which they cannot
                readers.push_back(target);
            }
        };
        add(parameter->output(0));
        while (!readers.empty()) {
            const ov::Input<ov::Node> reader = readers.back();
            readers.pop_back();
            ov::Node& node = *reader.get_node();
            if (is_one_of(node, {"Convert"})) {
                add(node.output(0));
            } else if (is_one_of(node, {"Gather"}) && reader.get_index() == 1 &&
                       is_constant(node.get_input_node_ptr(0))) {
                const auto size = static_cast<std::size_t>(node.get_input_partial_shape(0)[0].get_length());
                auto& known = watch.rows.emplace(parameter->get_friendly_name(), size).first->second;
                known = std::min(known, size);
            }
        }
    }
    return watch;
}

bool has_nan(const ov::Tensor& tensor) {
    std::vector<float> values(tensor.get_size());
    to_floats(tensor, values.data(), "an output");
    return std::any_of(values.begin(), values.end(), [](float value) { return std::isnan(value); });
}

class OpenVinoGraph final : public Graph {
public:
    OpenVinoGraph(ov::CompiledModel model, std::string name, Watch watch,
                  std::vector<std::shared_ptr<const void>> memory)
        : memory_(std::move(memory)), model_(std::move(model)), name_(std::move(name)), watch_(std::move(watch)) {
        for (const auto& input : model_.inputs()) {
            inputs_.push_back(input.get_any_name());
        }
        for (const auto& output : model_.outputs()) {
            if (outputs_.size() + watch_.extra_outputs < model_.outputs().size()) {
                outputs_.push_back(own_name(output));
            }
        }
    }

    const std::vector<std::string>& inputs() const noexcept override { return inputs_; }
    const std::vector<std::string>& outputs() const noexcept override { return outputs_; }

    Tensors run(const Feeds& feeds) const override {
        try {
            ov::InferRequest request = take();
            check_rows(feeds);
            // A request that failed is not used again: it may hold feeds that are gone.
            for (const auto& port : model_.inputs()) {
                const std::string& input = port.get_any_name();
                request.set_tensor(port, as_tensor(feeds.at(input), port.get_element_type(), input));
            }
            request.infer();
            Tensors results;
            for (std::size_t at = 0; at < outputs_.size(); ++at) {
                results.emplace(outputs_[at], read(request.get_output_tensor(at), outputs_[at]));
            }
            for (std::size_t at = outputs_.size(); at < outputs_.size() + watch_.extra_outputs; ++at) {
                if (has_nan(request.get_output_tensor(at))) {
                    fail<BackendError>(name_, " computes NaN, which OpenVINO makes a number where the graph cuts its output "
                                       "to a range: the bundle's weights are damaged. Get the bundle again, or export it "
                                       "again");
                }
            }
            give(std::move(request));
            return results;
        } catch (const ov::Exception& error) {
            fail<BackendError>("openvino failed in ", name_, ": ", one_line(error.what()),
                               ". If memory ran out, lower memory_mb; else export the bundle again");
        }
    }

private:
    void check_rows(const Feeds& feeds) const {
        for (const auto& [input, rows] : watch_.rows) {
            const auto check = [this, &name = input, count = static_cast<double>(rows)](auto values) {
                for (const auto value : values) {
                    const auto row = static_cast<double>(value);
                    if (!(row >= 0 && row < count)) {
                        fail<BackendError>(name_, " was given ", name, " up to ", row, ", and it has ", count,
                                           " rows for them: the bundle's files do not belong together. Get the bundle "
                                           "again, or export it again");
                    }
                }
            };
            std::visit(check, feeds.at(input).values);
        }
    }

    /// A request that nobody uses: one context a thread, made when it is first needed.
    ov::InferRequest take() const {
        {
            const std::lock_guard lock(mutex_);
            if (!free_.empty()) {
                ov::InferRequest request = std::move(free_.back());
                free_.pop_back();
                return request;
            }
        }
        return const_cast<ov::CompiledModel&>(model_).create_infer_request();
    }

    void give(ov::InferRequest request) const {
        const std::lock_guard lock(mutex_);
        free_.push_back(std::move(request));
    }

    std::vector<std::shared_ptr<const void>> memory_;  ///< weights that the model may read, so it goes after that
    ov::CompiledModel model_;
    std::string name_;
    Watch watch_;
    std::vector<std::string> inputs_, outputs_;
    mutable std::mutex mutex_;
    mutable std::vector<ov::InferRequest> free_;
};

/// Whether a model reads weights where they lie.
bool reads_in_place(const ov::Model& model, const std::vector<Weight>& weights) {
    for (const std::shared_ptr<ov::Node>& node : model.get_ops()) {
        const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node);
        if (constant == nullptr) {
            continue;
        }
        const auto* data = static_cast<const std::uint8_t*>(constant->get_data_ptr());
        if (std::any_of(weights.begin(), weights.end(), [&](const Weight& one) {
                return !std::less<>{}(data, one.data.data()) && std::less<>{}(data, one.data.data() + one.data.size());
            })) {
            return true;
        }
    }
    return false;
}

class OpenVino final : public Backend {
public:
    explicit OpenVino(int threads) {
        // The default on CPUs that have it is bf16, which is not what the bundle was checked in.
        options_ = {ov::hint::inference_precision(ov::element::f32),
                    ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY), ov::num_streams(1)};
        if (threads > 0) {
            options_.insert(ov::inference_num_threads(threads));
        }
    }

    std::string name() const override { return "openvino"; }
    std::uint64_t fast_mb() const override { return kProcessorMb; }

    std::unique_ptr<Graph> load(GraphFile file) const override {
        const std::filesystem::path& path = file.path;
        // Weights lie in memory: their place is an address in this process, as OpenVINO's reader of ONNX takes it. The
        // mark of the place is written here alone: a file that had it would not have come so far.
        const std::string graph = file.model([](const Weight& weight) -> Place {
            const auto address = reinterpret_cast<std::uintptr_t>(weight.data.data());
            return {{"location", "*/_ORT_MEM_ADDR_/*"},
                    {"offset", std::to_string(address)},
                    {"length", std::to_string(weight.data.size())}};
        });
        try {
            const std::shared_ptr<ov::Model> model = core().read_model(graph, ov::Tensor());
            Watch watch = watch_model(*model);
            if (!reads_in_place(*model, file.weights)) {  // OpenVINO 2026 copies them, and compiling copies once more
                file.weights.clear();
                file.memory.clear();
            }
            return std::make_unique<OpenVinoGraph>(core().compile_model(model, "CPU", options_),
                                                   path.filename().string(), std::move(watch), file.memory);
        } catch (const std::exception& error) {
            fail<BackendError>("openvino cannot load ", path, ": ", one_line(error.what()),
                               ". Export the bundle again, or upgrade openvino");
        }
    }

private:
    /// Plugins are loaded once a process.
    static ov::Core& core() {
        static ov::Core one;
        return one;
    }

    ov::AnyMap options_;
};

}  // namespace

std::unique_ptr<Backend> make_openvino(int threads) {
    return std::make_unique<OpenVino>(threads);
}

}  // namespace clsclip
