/// TensorRT, in either edition: runs the engines that `clsclip-export --engine` built for a bundle.
#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>

#include "graph.hpp"
#include "backends/tensorrt/files.hpp"
#include "backends/tensorrt/place.hpp"
#include "backends/numbers.hpp"
#include "file_bytes.hpp"
#include "errors.hpp"

namespace clsclip {

namespace {

#ifdef CLSCLIP_TENSORRT_RTX
constexpr const char* kEdition = "tensorrt-rtx";
#else
constexpr const char* kEdition = "tensorrt";
#endif

void check(cudaError_t code, const char* what) {
    if (code != cudaSuccess) {
        fail<BackendError>("CUDA refused ", what, ": ", cudaGetErrorString(code),
                           ". If GPU memory ran out, free some, or build an engine for fewer pairs");
    }
}

/// Keeps TensorRT's last errors, for messages.
class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* text) noexcept override {
        if (severity <= Severity::kERROR) {
            try {
                const std::lock_guard lock(mutex_);
                lines_ = one_line(lines_ + "; " + text, 800);
            } catch (...) {  // NOLINT: a message that is lost is no reason to end the program
            }
        }
    }

    std::string take() {
        const std::lock_guard lock(mutex_);
        std::string lines = std::exchange(lines_, {});
        return lines.size() > 2 ? lines.substr(2) : "it gave no reason";
    }

private:
    std::mutex mutex_;
    std::string lines_;
};

/// Memory of the GPU.
class DeviceMemory {
public:
    explicit DeviceMemory(std::size_t bytes) { check(cudaMalloc(&data_, std::max<std::size_t>(1, bytes)), "memory"); }
    DeviceMemory(DeviceMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    DeviceMemory& operator=(DeviceMemory&&) = delete;
    ~DeviceMemory() { cudaFree(data_); }

    [[nodiscard]] void* data() const noexcept { return data_; }

private:
    void* data_ = nullptr;
};

std::size_t bytes_of(nvinfer1::DataType type, const std::string& name) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT:
        case nvinfer1::DataType::kINT32: return 4;
        case nvinfer1::DataType::kHALF: return 2;
        case nvinfer1::DataType::kINT64: return 8;
        default:
            fail<BackendError>(name, " has TensorRT's type number ", static_cast<int>(type),
                               ", which this library does not use. Export the bundle again");
    }
}

nvinfer1::Dims dims_of(const Shape& shape) {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), dims.d);
    return dims;
}

/// A feed's bytes in the type that the engine takes.
std::vector<std::uint8_t> converted(const Feed& feed, nvinfer1::DataType type, const std::string& name) {
    std::vector<std::uint8_t> bytes(count_of(feed.shape) * bytes_of(type, name));
    std::visit(
        [&](auto values) {
            using From = typename decltype(values)::value_type;
            const auto put = [&]<class To>(To) {
                copy_as<From>(values.data(), values.size(), reinterpret_cast<To*>(bytes.data()));
            };
            switch (type) {
                case nvinfer1::DataType::kFLOAT: put(float{}); break;
                case nvinfer1::DataType::kINT32: put(std::int32_t{}); break;
                case nvinfer1::DataType::kINT64: put(std::int64_t{}); break;
                default:
                    std::transform(values.begin(), values.end(), reinterpret_cast<std::uint16_t*>(bytes.data()),
                                   [](From one) { return Half(static_cast<float>(one)).bits; });
            }
        },
        feed.values);
    return bytes;
}

/// What one call at a time needs to run an engine: a context, a stream, and buffers of the largest sizes.
struct Worker {
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    cudaStream_t stream = nullptr;
    std::map<std::string, DeviceMemory> buffers;

    Worker() { check(cudaStreamCreate(&stream), "a stream"); }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker() { cudaStreamDestroy(stream); }
};

class TensorRtGraph final : public Graph {
public:
    TensorRtGraph(std::shared_ptr<nvinfer1::IRuntime> runtime, std::shared_ptr<Logger> logger, EngineFile file,
                  std::string name)
        : logger_(std::move(logger)), runtime_(std::move(runtime)), file_(std::move(file)), name_(std::move(name)) {
        const FileBytes plan(file_.plan);
        engine_.reset(runtime_->deserializeCudaEngine(plan.bytes().data(), plan.bytes().size()));
        if (!engine_) {
            fail<BackendError>(kEdition, " cannot load ", file_.plan, ": ", logger_->take(), ". It was built for ",
                               file_.built_for, ". Build it again with clsclip-export --engine ", kEdition);
        }
        for (std::int32_t at = 0; at < engine_->getNbIOTensors(); ++at) {
            const char* tensor = engine_->getIOTensorName(at);
            (engine_->getTensorIOMode(tensor) == nvinfer1::TensorIOMode::kINPUT ? inputs_ : outputs_)
                .emplace_back(tensor);
        }
    }

    const std::vector<std::string>& inputs() const noexcept override { return inputs_; }
    const std::vector<std::string>& outputs() const noexcept override { return outputs_; }

    Tensors run(const Feeds& feeds) const override {
        check_fits(feeds);
        std::unique_ptr<Worker> worker = take();
        for (const std::string& input : inputs_) {
            const Feed& feed = feeds.at(input);
            const auto bytes = converted(feed, engine_->getTensorDataType(input.c_str()), input);
            void* place = worker->buffers.at(input).data();
            accept(worker->context->setInputShape(input.c_str(), dims_of(feed.shape)), "the shape of " + input);
            accept(worker->context->setTensorAddress(input.c_str(), place), "the address of " + input);
            // The bytes are read before this returns, since they are not in pinned memory.
            check(cudaMemcpyAsync(place, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, worker->stream), "a copy");
        }
        for (const std::string& output : outputs_) {
            accept(worker->context->setTensorAddress(output.c_str(), worker->buffers.at(output).data()),
                   "the address of " + output);
        }
        accept(worker->context->enqueueV3(worker->stream), "the call");
        Tensors results;
        for (const std::string& output : outputs_) {
            results.emplace(output, read(*worker, output));
        }
        const std::lock_guard lock(mutex_);
        free_.push_back(std::move(worker));  // one that failed is not used again
        return results;
    }

private:
    void accept(bool fine, const std::string& what) const {
        if (!fine) {
            fail<BackendError>("TensorRT refused ", what, " in ", name_, ": ", logger_->take(),
                               ". Build its engine again, for larger sizes if they are the reason");
        }
    }

    /// BackendError unless one call takes so much.
    void check_fits(const Feeds& feeds) const {
        for (const std::string& input : inputs_) {
            const Shape& shape = feeds.at(input).shape;
            const auto names = file_.inputs.find(input);
            for (std::size_t at = 0; names != file_.inputs.end() && at < names->second.size(); ++at) {
                const auto axis = names->second[at];
                const auto range = axis ? file_.ranges.find(*axis) : file_.ranges.end();
                if (range != file_.ranges.end() &&
                    (shape.at(at) < range->second.low || shape[at] > range->second.high)) {
                    fail<BackendError>(input, " of ", name_, " has the shape ", text_of_shape(shape),
                                       ", and its engine takes ", range->second.low, " to ", range->second.high,
                                       " along ", *axis, ". Lower pairs_per_call, ask fewer words, or build an engine "
                                       "for more");
                }
            }
        }
    }

    std::unique_ptr<Worker> take() const {
        {
            const std::lock_guard lock(mutex_);
            if (!free_.empty()) {
                auto worker = std::move(free_.back());
                free_.pop_back();
                return worker;
            }
        }
        auto worker = std::make_unique<Worker>();
        worker->context.reset(engine_->createExecutionContext());
        accept(worker->context != nullptr, "an execution context (this usually means too little GPU memory)");
        for (const auto* names : {&inputs_, &outputs_}) {
            for (const std::string& tensor : *names) {
                worker->buffers.emplace(tensor, DeviceMemory(most_bytes(tensor)));
            }
        }
        return worker;
    }

    /// Of a tensor at the largest sizes of the engine's profile.
    std::size_t most_bytes(const std::string& tensor) const {
        const nvinfer1::Dims dims = engine_->getTensorShape(tensor.c_str());
        const auto& axes = file_.inputs.contains(tensor) ? file_.inputs.at(tensor) : file_.outputs.at(tensor);
        std::size_t bytes = bytes_of(engine_->getTensorDataType(tensor.c_str()), tensor);
        for (std::int32_t at = 0; at < dims.nbDims; ++at) {
            const auto axis = axes.at(static_cast<std::size_t>(at));
            bytes *= static_cast<std::size_t>(axis ? file_.ranges.at(*axis).high : dims.d[at]);
        }
        return bytes;
    }

    Tensor read(const Worker& worker, const std::string& output) const {
        const nvinfer1::Dims dims = worker.context->getTensorShape(output.c_str());
        const nvinfer1::DataType type = engine_->getTensorDataType(output.c_str());
        Tensor tensor{Shape(dims.d, dims.d + dims.nbDims), {}};
        const std::size_t count = count_of(tensor.shape);
        std::vector<std::uint8_t> bytes(count * bytes_of(type, output));
        check(cudaMemcpyAsync(bytes.data(), worker.buffers.at(output).data(), bytes.size(), cudaMemcpyDeviceToHost,
                              worker.stream),
              "a copy");
        check(cudaStreamSynchronize(worker.stream), "waiting");
        tensor.values.resize(count);
        switch (type) {
            case nvinfer1::DataType::kHALF: copy_as<Half>(bytes.data(), count, tensor.values.data()); break;
            case nvinfer1::DataType::kINT32: copy_as<std::int32_t>(bytes.data(), count, tensor.values.data()); break;
            case nvinfer1::DataType::kINT64: copy_as<std::int64_t>(bytes.data(), count, tensor.values.data()); break;
            default: copy_as<float>(bytes.data(), count, tensor.values.data());
        }
        return tensor;
    }

    // The order matters: contexts go before the engine, and the engine before its runtime, and that before its log.
    std::shared_ptr<Logger> logger_;
    std::shared_ptr<nvinfer1::IRuntime> runtime_;
    EngineFile file_;
    std::string name_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::vector<std::string> inputs_, outputs_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Worker>> free_;
};

class TensorRt final : public Backend {
public:
    explicit TensorRt(EnginePlace place) : logger_(std::make_shared<Logger>()), place_(std::move(place)) {
        cudaDeviceProp gpu{};
        check(cudaGetDeviceProperties(&gpu, 0), "the first GPU");
        machine_ = {kEdition, text_of(getInferLibMajorVersion(), ".", getInferLibMinorVersion(), ".",
                                      getInferLibPatchVersion(), ".", getInferLibBuildVersion()),
                    gpu.name, text_of(gpu.major, ".", gpu.minor)};
        runtime_.reset(nvinfer1::createInferRuntime(*logger_));
        if (!runtime_) {
            fail<BackendError>(kEdition, " does not start: ", logger_->take(), ". Install it again");
        }
    }

    std::string name() const override { return "tensorrt"; }

    std::unique_ptr<Graph> load(GraphFile graph) const override {
        EngineFile file = find_engine(place_.readable(graph.bundle), graph, machine_);
        // Such a plan carries the code of its own version's lean runtime. It was built by this user, or is trusted.
        runtime_->setEngineHostCodeAllowed(file.host_code);
        return std::make_unique<TensorRtGraph>(runtime_, logger_, std::move(file), graph.path.filename().string());
    }

private:
    std::shared_ptr<Logger> logger_;
    EnginePlace place_;
    Machine machine_;
    std::shared_ptr<nvinfer1::IRuntime> runtime_;
};

}  // namespace

std::unique_ptr<Backend> make_tensorrt(int, const EnginePlace& place) {
    return std::make_unique<TensorRt>(place);
}

}  // namespace clsclip
