/// ONNX Runtime on the CPU, through its C API, which newer libraries keep.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "graph.hpp"
#include "backends/numbers.hpp"
#include "errors.hpp"

namespace clsclip {

namespace {

/// The API of ONNX Runtime 1.16; every newer library has it.
constexpr std::uint32_t kApiVersion = std::min(ORT_API_VERSION, 16);

/// From 1.29 on ONNX Runtime reports its use to its maker, unless this is set before; what the user has set stays.
void report_nothing() {
#ifndef _WIN32
    setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
}

const OrtApi& api() {
    static const OrtApi* const found = OrtGetApiBase()->GetApi(kApiVersion);
    if (found == nullptr) {
        fail<BackendError>("onnxruntime ", OrtGetApiBase()->GetVersionString(),
                           " is too old for this library. Upgrade it to 1.16 or newer");
    }
    return *found;
}

/// A failed call of ONNX Runtime, with its reason.
class OrtFailure : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

void check(OrtStatus* status) {
    if (status != nullptr) {
        const std::string reason = one_line(api().GetErrorMessage(status));
        api().ReleaseStatus(status);
        throw OrtFailure(reason);
    }
}

/// Owns what one of ONNX Runtime's calls made.
template <class Type, void(ORT_API_CALL* OrtApi::* Release)(Type*)>
struct Releaser {
    void operator()(Type* one) const noexcept { (api().*Release)(one); }
};
using Environment = std::unique_ptr<OrtEnv, Releaser<OrtEnv, &OrtApi::ReleaseEnv>>;
using SessionOptions = std::unique_ptr<OrtSessionOptions, Releaser<OrtSessionOptions, &OrtApi::ReleaseSessionOptions>>;
using Session = std::unique_ptr<OrtSession, Releaser<OrtSession, &OrtApi::ReleaseSession>>;
using Value = std::unique_ptr<OrtValue, Releaser<OrtValue, &OrtApi::ReleaseValue>>;
using TypeInfo = std::unique_ptr<OrtTypeInfo, Releaser<OrtTypeInfo, &OrtApi::ReleaseTypeInfo>>;
using TensorInfo =
    std::unique_ptr<OrtTensorTypeAndShapeInfo,
                    Releaser<OrtTensorTypeAndShapeInfo, &OrtApi::ReleaseTensorTypeAndShapeInfo>>;
using MemoryInfo = std::unique_ptr<OrtMemoryInfo, Releaser<OrtMemoryInfo, &OrtApi::ReleaseMemoryInfo>>;

/// Call a function that makes something through its last argument, and own that.
template <class Owner, class Function, class... Arguments>
Owner make(Function function, Arguments... arguments) {
    typename Owner::pointer made = nullptr;
    check(function(arguments..., &made));
    return Owner(made);
}

const MemoryInfo& cpu_memory() {
    static const MemoryInfo info = make<MemoryInfo>(api().CreateCpuMemoryInfo, OrtArenaAllocator, OrtMemTypeDefault);
    return info;
}

/// Memory that an input is copied to, where the graph takes another type.
struct Converted {
    std::vector<std::uint16_t> halves;
    std::vector<float> floats;
    std::vector<std::int32_t> integers;
    std::vector<std::int64_t> long_integers;
};

template <class To>
Value wrap(std::vector<To>& own, const Shape& shape, ONNXTensorElementDataType type) {
    return make<Value>(api().CreateTensorWithDataAsOrtValue, cpu_memory().get(), static_cast<void*>(own.data()),
                       own.size() * sizeof(To), shape.data(), shape.size(), type);
}

/// A feed as the graph takes it: where it lies, or in a copy of another type.
Value as_value(const Feed& feed, ONNXTensorElementDataType type, const std::string& name, Converted& copy) {
    return std::visit(
        [&](auto values) -> Value {
            using From = typename decltype(values)::value_type;
            constexpr bool is_float = std::is_same_v<From, float>;
            if (type == (is_float ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)) {
                return make<Value>(api().CreateTensorWithDataAsOrtValue, cpu_memory().get(),
                                   static_cast<void*>(const_cast<From*>(values.data())), values.size_bytes(),
                                   feed.shape.data(), feed.shape.size(), type);
            }
            const auto into = [&](auto& own) {
                own.resize(values.size());
                copy_as<From>(values.data(), values.size(), own.data());
                return wrap(own, feed.shape, type);
            };
            switch (type) {
                case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return into(copy.floats);
                case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return into(copy.integers);
                case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return into(copy.long_integers);
                case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
                    copy.halves.resize(values.size());
                    std::transform(values.begin(), values.end(), copy.halves.begin(),
                                   [](From one) { return Half(static_cast<float>(one)).bits; });
                    return wrap(copy.halves, feed.shape, type);
                default:
                    fail<BackendError>("the input ", name, " has ONNX's type number ", static_cast<int>(type),
                                       ", which this library does not feed. Export the bundle again");
            }
        },
        feed.values);
}

Tensor read(OrtValue* value, const std::string& name) {
    const auto info = make<TensorInfo>(api().GetTensorTypeAndShape, static_cast<const OrtValue*>(value));
    std::size_t axes = 0;
    check(api().GetDimensionsCount(info.get(), &axes));
    Tensor read{Shape(axes), {}};
    check(api().GetDimensions(info.get(), read.shape.data(), axes));
    ONNXTensorElementDataType type{};
    check(api().GetTensorElementType(info.get(), &type));
    void* data = nullptr;
    check(api().GetTensorMutableData(value, &data));
    const std::size_t count = count_of(read.shape);
    read.values.resize(count);
    switch (type) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: copy_as<float>(data, count, read.values.data()); break;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: copy_as<double>(data, count, read.values.data()); break;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: copy_as<Half>(data, count, read.values.data()); break;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: copy_as<std::int64_t>(data, count, read.values.data()); break;
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: copy_as<std::int32_t>(data, count, read.values.data()); break;
        default:
            fail<BackendError>(name, " has values of ONNX's type number ", static_cast<int>(type),
                               ", which this library does not read. Export the bundle again");
    }
    return read;
}

class OnnxRuntimeGraph final : public Graph {
public:
    OnnxRuntimeGraph(Session session, std::string name, std::vector<std::shared_ptr<const void>> memory)
        : memory_(std::move(memory)), session_(std::move(session)), name_(std::move(name)) {
        std::size_t count = 0;
        check(api().SessionGetInputCount(session_.get(), &count));
        for (std::size_t at = 0; at < count; ++at) {
            inputs_.push_back(name_of(api().SessionGetInputName, at));
            types_.push_back(type_of(at));
        }
        check(api().SessionGetOutputCount(session_.get(), &count));
        for (std::size_t at = 0; at < count; ++at) {
            outputs_.push_back(name_of(api().SessionGetOutputName, at));
        }
    }

    const std::vector<std::string>& inputs() const noexcept override { return inputs_; }
    const std::vector<std::string>& outputs() const noexcept override { return outputs_; }

    Tensors run(const Feeds& feeds) const override {
        try {
            std::vector<Value> values;
            std::vector<const OrtValue*> given;
            std::vector<Converted> copies(inputs_.size());
            for (std::size_t at = 0; at < inputs_.size(); ++at) {
                values.push_back(as_value(feeds.at(inputs_[at]), types_[at], inputs_[at], copies[at]));
                given.push_back(values.back().get());
            }
            const std::vector<const char*> input_names = pointers(inputs_), output_names = pointers(outputs_);
            std::vector<OrtValue*> made(outputs_.size(), nullptr);
            check(api().Run(session_.get(), nullptr, input_names.data(), given.data(), given.size(),
                            output_names.data(), output_names.size(), made.data()));
            values.clear();
            for (OrtValue* one : made) {
                values.emplace_back(one);
            }
            Tensors results;
            for (std::size_t at = 0; at < outputs_.size(); ++at) {
                results.emplace(outputs_[at], read(values[at].get(), outputs_[at]));
            }
            return results;
        } catch (const OrtFailure& error) {
            fail<BackendError>("onnxruntime failed in ", name_, ": ", error.what(),
                               ". If memory ran out, lower memory_mb; else export the bundle again");
        }
    }

private:
    template <class Function>
    std::string name_of(Function function, std::size_t at) const {
        OrtAllocator* allocator = nullptr;
        check(api().GetAllocatorWithDefaultOptions(&allocator));
        char* text = nullptr;
        check(function(session_.get(), at, allocator, &text));
        const std::string name = text;
        check(api().AllocatorFree(allocator, text));
        return name;
    }

    ONNXTensorElementDataType type_of(std::size_t at) const {
        const auto info =
            make<TypeInfo>(api().SessionGetInputTypeInfo, static_cast<const OrtSession*>(session_.get()), at);
        const OrtTensorTypeAndShapeInfo* tensor = nullptr;
        check(api().CastTypeInfoToTensorInfo(info.get(), &tensor));
        ONNXTensorElementDataType type{};
        if (tensor != nullptr) {
            check(api().GetTensorElementType(tensor, &type));
        }
        return type;
    }

    static std::vector<const char*> pointers(const std::vector<std::string>& names) {
        std::vector<const char*> all;
        for (const std::string& name : names) {
            all.push_back(name.c_str());
        }
        return all;
    }

    std::vector<std::shared_ptr<const void>> memory_;  ///< weights that the session may read, so it goes after that
    Session session_;
    std::string name_;
    std::vector<std::string> inputs_, outputs_;
    std::vector<ONNXTensorElementDataType> types_;
};

class OnnxRuntime final : public Backend {
public:
    explicit OnnxRuntime(int threads) {
        try {
            options_ = make<SessionOptions>(api().CreateSessionOptions);
            // Calls differ in their number of pairs: planning memory for each shape adds half to the peak. Threads that
            // wait in a loop take cores from the next graph's.
            check(api().DisableMemPattern(options_.get()));
            check(api().AddSessionConfigEntry(options_.get(), "session.intra_op.allow_spinning", "0"));
            if (threads > 0) {
                check(api().SetIntraOpNumThreads(options_.get(), threads));
            }
        } catch (const OrtFailure& error) {
            fail<BackendError>("onnxruntime does not start: ", error.what(), ". Install it again");
        }
    }

    std::string name() const override { return "onnxruntime-cpu"; }
    std::uint64_t fast_mb() const override { return kProcessorMb; }

    std::unique_ptr<Graph> load(GraphFile file) const override {
        const std::filesystem::path& path = file.path;
        // From memory: so it has no folder to look for files in.
        const std::string model = file.model([](const Weight&) -> Place { return {{"location", "memory"}}; });
        try {
            report_nothing();
            static const Environment environment = make<Environment>(api().CreateEnv, ORT_LOGGING_LEVEL_FATAL, "clsclip");
            const SessionOptions options =
                make<SessionOptions>(api().CloneSessionOptions, static_cast<const OrtSessionOptions*>(options_.get()));
            std::vector<const char*> names;
            std::vector<Value> values;
            std::vector<const OrtValue*> given;
            for (const Weight& weight : file.weights) {
                names.push_back(weight.name.c_str());
                values.push_back(make<Value>(
                    api().CreateTensorWithDataAsOrtValue, static_cast<const OrtMemoryInfo*>(cpu_memory().get()),
                    static_cast<void*>(const_cast<std::uint8_t*>(weight.data.data())), weight.data.size(),
                    weight.shape.data(), weight.shape.size(), static_cast<ONNXTensorElementDataType>(weight.type)));
                given.push_back(values.back().get());
            }
            if (!given.empty()) {
                check(api().AddExternalInitializers(options.get(), names.data(), given.data(), given.size()));
            }
            auto session = make<Session>(api().CreateSessionFromArray, static_cast<const OrtEnv*>(environment.get()),
                                         static_cast<const void*>(model.data()), model.size(),
                                         static_cast<const OrtSessionOptions*>(options.get()));
            return std::make_unique<OnnxRuntimeGraph>(std::move(session), path.filename().string(), file.memory);
        } catch (const OrtFailure& error) {
            fail<BackendError>("onnxruntime cannot load ", path, ": ", error.what(),
                               ". Export the bundle again, or upgrade onnxruntime");
        }
    }

private:
    SessionOptions options_;
};

}  // namespace

std::unique_ptr<Backend> make_onnxruntime(int threads) {
    return std::make_unique<OnnxRuntime>(threads);
}

}  // namespace clsclip
