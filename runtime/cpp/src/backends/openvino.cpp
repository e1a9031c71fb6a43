/// OpenVINO on the CPU.
#include <openvino/openvino.hpp>

#include <algorithm>
#include <mutex>

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

class OpenVinoGraph final : public Graph {
public:
    OpenVinoGraph(ov::CompiledModel model, std::string name) : model_(std::move(model)), name_(std::move(name)) {
        for (const auto& input : model_.inputs()) {
            inputs_.push_back(input.get_any_name());
        }
        for (const auto& output : model_.outputs()) {
            outputs_.push_back(own_name(output));
        }
    }

    const std::vector<std::string>& inputs() const noexcept override { return inputs_; }
    const std::vector<std::string>& outputs() const noexcept override { return outputs_; }

    Tensors run(const Feeds& feeds) const override {
        try {
            ov::InferRequest request = take();
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
            give(std::move(request));
            return results;
        } catch (const ov::Exception& error) {
            fail<BackendError>("openvino failed in ", name_, ": ", one_line(error.what()),
                               ". If memory ran out, lower memory_mb; else export the bundle again");
        }
    }

private:
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

    ov::CompiledModel model_;
    std::string name_;
    std::vector<std::string> inputs_, outputs_;
    mutable std::mutex mutex_;
    mutable std::vector<ov::InferRequest> free_;
};

class OpenVino final : public Backend {
public:
    explicit OpenVino(int threads) {
        // The default on CPUs that have it is bf16, which is not what the bundle was checked in.
        options_ = {ov::hint::inference_precision(ov::element::f32),
                    ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
        if (threads > 0) {
            options_.insert(ov::inference_num_threads(threads));
        }
    }

    std::string name() const override { return "openvino"; }

    std::unique_ptr<Graph> load(const GraphFile& file) const override {
        const std::filesystem::path& path = file.path;
        try {
            return std::make_unique<OpenVinoGraph>(core().compile_model(path.string(), "CPU", options_),
                                                   path.filename().string());
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
