#include "graphs.hpp"

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <string_view>

#include "errors.hpp"

namespace clsclip {

namespace {

std::unique_ptr<Graph> load(const Backend& backend, const Bundle& bundle, std::string_view name,
                            std::initializer_list<std::string_view> known) {
    std::unique_ptr<Graph> graph = backend.load(bundle.path(name));
    for (const std::string& input : graph->inputs()) {
        if (std::find(known.begin(), known.end(), input) == known.end()) {
            fail<BundleError>(name, " in ", bundle.folder, " wants the input ", input,
                              ", which this version of clsclip does not know. Upgrade clsclip, or export the bundle "
                              "again");
        }
    }
    return graph;
}

/// Run a graph on those of the feeds that it takes (a variant may not need all), and check its output.
Tensor run(const Graph& graph, const Feeds& offered, const std::string& output, const Shape& shape,
           std::string_view name) {
    Feeds feeds;
    for (const std::string& input : graph.inputs()) {
        const auto found = offered.find(input);
        if (found == offered.end()) {
            fail<BackendError>("image_encoder.onnx gave no ", input, ". Export the bundle again");
        }
        feeds.insert(*found);
    }
    Tensors results = graph.run(feeds);
    const auto found = results.find(output);
    if (found == results.end() || found->second.shape != shape) {
        const std::string got = found == results.end() ? "nothing" : "shape " + text_of_shape(found->second.shape);
        fail<BackendError>(name, " gave ", got, " for ", output, ", and ", text_of_shape(shape),
                           " was expected. Export the bundle again");
    }
    return std::move(found->second);
}

Feeds feeds_of(const Tensors& arrays) {
    return {arrays.begin(), arrays.end()};
}

}  // namespace

Graphs::Graphs(const Bundle& bundle, const Backend& backend) : mask_(bundle.manifest.mask) {
    image_encoder_ = load(backend, bundle, kImageEncoder, {"pixel_values"});
    trunk_ = load(backend, bundle, kTrunk,
                  {"stem_tokens", "patch_features", "text_tokens", "crop_index", "class_index"});
    if (bundle.manifest.presence_threshold) {
        gate_ = load(backend, bundle, kGate, {"image_features", "patch_features", "text_features"});
    }
    text_ = load(backend, bundle, kTextEncoder, {"token_ids"});
}

Tensors Graphs::encode(const Tensor& pixel_values) const {
    Tensors arrays = image_encoder_->run({{"pixel_values", pixel_values}});
    for (const auto& [name, array] : arrays) {
        if (array.shape.empty() || array.shape[0] != pixel_values.shape[0]) {
            fail<BackendError>("image_encoder.onnx gave shape ", text_of_shape(array.shape), " for ", name, " of ",
                               pixel_values.shape[0], " crops. Export the bundle again");
        }
        if (!all_finite(array.values)) {
            fail<BackendError>("the model gave NaN or infinity (", name,
                               ") for the picture: the weights of the bundle's image encoder are damaged. Get the "
                               "bundle again, or export it again");
        }
    }
    const auto stem = arrays.find("stem_tokens");
    if (stem == arrays.end() || stem->second.shape.size() != 3) {
        fail<BackendError>("image_encoder.onnx gave no stem_tokens of three axes. Export the bundle again");
    }
    return arrays;
}

std::optional<Tensor> Graphs::presence(const Tensors& arrays, const EncodedWords& encoded,
                                       std::span<const std::string> words) const {
    if (!gate_) {
        return std::nullopt;
    }
    const std::int64_t crops = arrays.at("stem_tokens").shape[0];
    Feeds feeds = feeds_of(arrays);
    feeds.emplace("text_features", encoded.features);
    Tensor values = run(*gate_, feeds, "presence", {crops, static_cast<std::int64_t>(words.size())}, kGate);
    for (std::size_t at = 0; at < values.values.size(); ++at) {
        if (!all_finite(std::span(values.values).subspan(at, 1))) {
            fail_not_finite("presence score", words[at % words.size()]);
        }
        values.values[at] = std::clamp(values.values[at], 0.0F, 1.0F);
    }
    return values;
}

Tensor Graphs::trunk(const Tensors& arrays, const Tensor& text_tokens, std::span<const std::int64_t> crops,
                     std::span<const std::int64_t> classes) const {
    Feeds feeds = feeds_of(arrays);
    feeds.emplace("text_tokens", text_tokens);
    feeds.emplace("crop_index", crops);
    feeds.emplace("class_index", classes);
    return run(*trunk_, feeds, "mask_logits", {static_cast<std::int64_t>(crops.size()), mask_.height, mask_.width},
               kTrunk);
}

bool all_finite(std::span<const float> values) {
    // All exponent bits are set in infinities and NaN alone; integers, so that no option for fast maths can break it.
    constexpr std::uint32_t kExponent = 0x7F800000;
    std::uint32_t wrong = 0;
    for (const float value : values) {
        wrong |= static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent);
    }
    return wrong == 0;
}

void fail_not_finite(const std::string& what, const std::string& word) {
    fail<BackendError>("the model gave NaN or infinity as the ", what, " of the word '", word,
                       "': the bundle's weights are damaged. Get the bundle again, or export it again");
}

}  // namespace clsclip
