#include "inference/model.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "errors.hpp"
#include "limits.hpp"

namespace clsclip {

namespace {

using Names = std::set<std::string, std::less<>>;

Names names_of(const std::vector<FeatureSpec>& features) {
    Names names;
    for (const FeatureSpec& one : features) {
        names.insert(one.name);
    }
    return names;
}

/// A graph that takes inputs of `known` alone, and gives all of `wanted`.
std::unique_ptr<Graph> load(const Backend& backend, const Bundle& bundle, std::string_view name, const Names& known,
                            const Names& wanted) {
    GraphFile file = bundle.graph(name);
    bundle.let_go(name);
    // An engine leaves out what nothing reads; what it was built of may be another graph.
    Names unknown(file.inputs.begin(), file.inputs.end());
    std::unique_ptr<Graph> graph = backend.load(std::move(file));
    unknown.insert(graph->inputs().begin(), graph->inputs().end());
    std::erase_if(unknown, [&](const std::string& one) { return known.contains(one); });
    if (!unknown.empty()) {
        fail<BundleError>(name, " in ", bundle.folder, " wants the inputs ", joined(unknown),
                          ", which are none of its manifest. Upgrade clsclip, or export the bundle again");
    }
    const std::vector<std::string>& outputs = graph->outputs();
    for (const std::string& output : wanted) {
        if (std::find(outputs.begin(), outputs.end(), output) == outputs.end()) {
            fail<BundleError>(name, " in ", bundle.folder, " gives no ", output,
                              ", which manifest.json says that it gives. Export the bundle again");
        }
    }
    return graph;
}

/// Run a graph on those of the feeds that it takes.
Tensors run(const Graph& graph, const Feeds& offered) {
    Feeds feeds;
    for (const std::string& input : graph.inputs()) {
        feeds.insert(*offered.find(input));  // load() has seen that there is one
    }
    return graph.run(feeds);
}

/// An output of its expected shape.
Tensor& output(Tensors& results, const std::string& output, const Shape& shape, std::string_view name) {
    const auto found = results.find(output);
    if (found == results.end() || found->second.shape != shape) {
        const std::string got = found == results.end() ? "nothing" : "shape " + text_of_shape(found->second.shape);
        fail<BackendError>(name, " gave ", got, " for ", output, ", and ", text_of_shape(shape),
                           " was expected. Export the bundle again");
    }
    return found->second;
}

Feeds feeds_of(const Tensors& features, const Tensors& text) {
    Feeds feeds(features.begin(), features.end());
    feeds.insert(text.begin(), text.end());
    return feeds;
}

[[noreturn]] void fail_not_finite(const char* what, std::string_view name) {
    fail<BackendError>("the model gave NaN or infinity as the ", what, " of the class '", name,
                       "': the bundle's weights are damaged. Get the bundle again, or export it again");
}

float probability(float score, bool as_logit) {
    // A tanh, since no exponential of it overflows.
    return std::clamp(as_logit ? 0.5F * (1.0F + std::tanh(0.5F * score)) : score, 0.0F, 1.0F);
}

/// Rows first .. first + count of arrays (K, ...).
Tensors rows_of(const Tensors& arrays, std::size_t first, std::size_t count) {
    Tensors part;
    for (const auto& [name, array] : arrays) {
        Tensor& own = part[name];
        own.shape = array.shape;
        own.shape[0] = static_cast<std::int64_t>(count);
        const auto begin = array.values.begin() + static_cast<std::ptrdiff_t>(first * array.row_size());
        own.values.assign(begin, begin + static_cast<std::ptrdiff_t>(count * array.row_size()));
    }
    return part;
}

}  // namespace

LoadedModel::LoadedModel(const Bundle& bundle, const Backend& backend, bool for_presence)
    : bundle_(bundle), backend_(backend), features_(bundle.manifest.features), text_features_(bundle.manifest.text.features), mask_(bundle.manifest.mask),
      presence_spec_(bundle.manifest.presence), presence_pair_bytes_(bundle.manifest.memory.presence_pair_bytes) {
    if (bundle.has(kTextEncoder)) {  // first, since it shares no file
        text_ = load(backend, bundle, kTextEncoder, {"token_ids"}, names_of(text_features_));
    }
    Names known = names_of(features_);
    known.merge(names_of(text_features_));
    if (presence_spec_ && !presence_spec_->from_trunk) {
        presence_ = load(backend, bundle, kPresence, known, {"presence"});
    }
    known.insert({"crop_index", "class_index"});
    trunk_ = load(backend, bundle, kTrunk, known,
                  presence_spec_ && presence_spec_->from_trunk ? Names{"mask_logits", "presence"}
                                                               : Names{"mask_logits"});
    if (bundle.has(kStem)) {
        const std::vector<std::string> given = bundle.outputs(kStem);
        const auto& domain = bundle.manifest.domain;
        has_stem_ = std::all_of(features_.begin(), features_.end(), [&](const FeatureSpec& one) {
            const bool judged = domain && domain->test && domain->test->weights.contains(one.name);
            return trunk_takes(one.name) ? std::find(given.begin(), given.end(), one.name) != given.end() : !judged;
        });
    }
    const bool whole = (for_presence && presence_) || !has_stem_;
    bundle.let_go(whole ? kStem : kImageEncoder);  // loaded when it is first asked, if ever
    (void)encoder(whole);
}

bool LoadedModel::trunk_takes(std::string_view name) const {
    const std::vector<std::string>& inputs = trunk_->inputs();
    return std::find(inputs.begin(), inputs.end(), name) != inputs.end();
}

const Graph& LoadedModel::encoder(bool whole) const {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<Graph>& graph = whole ? image_encoder_ : stem_;
    if (!graph) {
        graph = load(backend_, bundle_, whole ? kImageEncoder : kStem, {"pixel_values"},
                     whole ? names_of(features_) : Names{});
    }
    return *graph;
}

bool LoadedModel::serves_presence(const Tensors& features) const {
    return presence_ == nullptr || std::all_of(features_.begin(), features_.end(), [&](const FeatureSpec& one) {
        const std::vector<std::string>& inputs = presence_->inputs();
        return features.contains(one.name) || std::find(inputs.begin(), inputs.end(), one.name) == inputs.end();
    });
}

Tensors LoadedModel::encode(const Tensor& pixel_values, bool for_presence) const {
    const bool whole = (for_presence && presence_) || !has_stem_;
    Tensors results = encoder(whole).run({{"pixel_values", pixel_values}});
    Tensors features;
    for (const FeatureSpec& one : features_) {
        if (!whole && !trunk_takes(one.name)) {
            continue;
        }
        Tensor& array = output(results, one.name, one.with_rows(pixel_values.shape[0]), whole ? kImageEncoder : kStem);
        if (!all_finite(array.values)) {
            fail<BackendError>("the model gave NaN or infinity (", one.name,
                               ") for the image: the weights of the bundle's image encoder are damaged. Get the "
                               "bundle again, or export it again");
        }
        features.emplace(one.name, std::move(array));
    }
    return features;
}

Tensor LoadedModel::presence(const Tensors& features, const EncodedWords& encoded,
                             std::span<const std::string> classes, std::size_t memory_mb) const {
    const std::int64_t crops = features.begin()->second.shape[0];
    const auto count = static_cast<std::int64_t>(classes.size());
    Tensor all{{crops, count}, std::vector<float>(static_cast<std::size_t>(crops * count))};
    const std::size_t step = fitting(memory_mb, static_cast<std::uint64_t>(crops) * presence_pair_bytes_);
    for (std::size_t start = 0; start < classes.size(); start += std::min(step, classes.size() - start)) {
        const std::size_t part = std::min(step, classes.size() - start);
        const bool whole = part == classes.size();
        const Tensors text = whole ? Tensors{} : rows_of(encoded.arrays, start, part);
        Tensors results = run(*presence_, feeds_of(features, whole ? encoded.arrays : text));
        const Tensor& scores = output(results, "presence", {crops, static_cast<std::int64_t>(part)}, kPresence);
        for (std::size_t at = 0; at < scores.values.size(); ++at) {
            const std::size_t crop = at / part, name = start + at % part;
            if (!all_finite(std::span(scores.values).subspan(at, 1))) {
                fail_not_finite("presence score", classes[name]);
            }
            all.values[crop * classes.size() + name] = probability(scores.values[at], presence_spec_->as_logit);
        }
    }
    return all;
}

TrunkOutput LoadedModel::trunk(const Tensors& features, const Tensors& text, std::span<const std::int64_t> crop_index,
                               std::span<const std::int64_t> class_index,
                               const std::vector<std::string_view>& classes) const {
    Feeds feeds = feeds_of(features, text);
    feeds.emplace("crop_index", crop_index);
    feeds.emplace("class_index", class_index);
    Tensors results = run(*trunk_, feeds);
    const auto pairs = static_cast<std::int64_t>(crop_index.size());
    TrunkOutput made;
    made.logits = std::move(output(results, "mask_logits", {pairs, mask_.height, mask_.width}, kTrunk));
    if (presence_spec_ && presence_spec_->from_trunk) {
        made.presence = std::move(output(results, "presence", {pairs}, kTrunk).values);
    }
    for (std::size_t at = 0; at < classes.size(); ++at) {
        if (!all_finite(made.logits.row(at))) {
            fail_not_finite("mask", classes[at]);
        }
    }
    for (std::size_t at = 0; at < made.presence.size(); ++at) {
        if (!all_finite(std::span(made.presence).subspan(at, 1))) {
            fail_not_finite("presence score", classes[at]);
        }
        made.presence[at] = probability(made.presence[at], presence_spec_->as_logit);
    }
    return made;
}

}  // namespace clsclip
