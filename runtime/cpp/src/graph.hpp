/// What every backend offers: it loads graphs, and graphs map named tensors to named tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace clsclip {

using Shape = std::vector<std::int64_t>;

/// Number of values of a tensor of this shape.
[[nodiscard]] std::size_t count_of(const Shape& shape);
/// Such as (2, 3, 128, 128).
[[nodiscard]] std::string text_of_shape(const Shape& shape);
/// Whether all values are finite.
[[nodiscard]] bool all_finite(std::span<const float> values);

/// Floats that own their memory.
struct Tensor {
    Shape shape;
    std::vector<float> values;

    /// Values of one position along the first axis.
    [[nodiscard]] std::size_t row_size() const { return shape.empty() || shape[0] == 0 ? 0 : values.size() / shape[0]; }
    [[nodiscard]] std::span<const float> row(std::size_t at) const {
        return std::span(values).subspan(at * row_size(), row_size());
    }
};

/// One input of a call, in memory that outlives the call. A backend turns it into the type that its graph takes.
struct Feed {
    Shape shape;
    std::variant<std::span<const float>, std::span<const std::int64_t>> values;

    Feed(const Tensor& tensor) : shape(tensor.shape), values(std::span(tensor.values)) {}
    Feed(std::span<const std::int64_t> numbers)
        : shape{static_cast<std::int64_t>(numbers.size())}, values(numbers) {}
    Feed(Shape own_shape, std::span<const std::int64_t> numbers) : shape(std::move(own_shape)), values(numbers) {}
    Feed(Shape own_shape, std::span<const float> numbers) : shape(std::move(own_shape)), values(numbers) {}
};

using Feeds = std::map<std::string, Feed, std::less<>>;
using Tensors = std::map<std::string, Tensor, std::less<>>;

/// A loaded graph. run() may be called from several threads at once.
class Graph {
public:
    virtual ~Graph() = default;

    [[nodiscard]] virtual const std::vector<std::string>& inputs() const noexcept = 0;
    [[nodiscard]] virtual const std::vector<std::string>& outputs() const noexcept = 0;
    /// Run once on exactly the graph's inputs; outputs of any number type come as float32. BackendError.
    [[nodiscard]] virtual Tensors run(const Feeds& feeds) const = 0;
};

/// An initializer whose bytes are handed to an engine beside the graph.
struct Weight {
    std::string name;
    int type = 0;  ///< ONNX's number of its type
    Shape shape;
    std::span<const std::uint8_t> data;  ///< verified; engines may go on reading it as long as the graph lives
};

/// A key and a value of a tensor's external data.
using Place = std::vector<std::pair<std::string, std::string>>;

/// An ONNX graph to load: bytes that were walked, and weights in memory. Engines are given model() and nothing else, never
/// a path: what they can reach is what is in here.
struct GraphFile {
    std::filesystem::path path;  ///< for messages, and for engines that were built of it; nothing is read from there
    std::map<std::string, std::string> digests;  ///< SHA-256 of the file and of its external data, by name
    std::string bundle;  ///< the bundle's fingerprint
    std::string around;  ///< fields of the model beside its graph, as they stand in the file
    std::string inside;  ///< fields of the graph without its weights, as they stand in the file
    std::vector<std::string> inputs;  ///< names, also of those that an engine leaves out since nothing reads them
    std::vector<Weight> weights;
    std::vector<std::shared_ptr<const void>> memory;  ///< what the weights lie in

    /// The graph as an ONNX file; `place` gives what is written as the external data of a weight. BackendError: something
    /// in the file would lead to other files.
    [[nodiscard]] std::string model(const std::function<Place(const Weight&)>& place) const;
};

/// What runs graphs.
class Backend {
public:
    virtual ~Backend() = default;

    /// The name that selects it.
    [[nodiscard]] virtual std::string name() const = 0;
    /// Load a graph, and let go of the file's memory as soon as nothing reads it. BackendError when it cannot.
    [[nodiscard]] virtual std::unique_ptr<Graph> load(GraphFile file) const = 0;
    /// MiB beyond which calls of the trunk with more than 16 pairs only get slower; 0 where they do not.
    [[nodiscard]] virtual std::uint64_t fast_mb() const { return 0; }
};

/// `fast_mb` of processors.
inline constexpr std::uint64_t kProcessorMb = 128;

}  // namespace clsclip
