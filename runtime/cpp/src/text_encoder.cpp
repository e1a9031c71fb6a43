#include "text_encoder.hpp"

#include <algorithm>
#include <cmath>

#include "errors.hpp"
#include "memory.hpp"

namespace clsclip {

namespace {

/// Words that are remembered; at CLIP ViT-B/16's widths that is 64 MiB.
constexpr std::size_t kMostKnown = 16384;

/// The mean over a word's templates: rows first .. first + count.
std::vector<float> mean_of_rows(const Tensor& tensor, std::size_t first, std::size_t count) {
    std::vector<float> sum(tensor.row_size(), 0.0F);
    for (std::size_t row = first; row < first + count; ++row) {
        const auto values = tensor.row(row);
        std::transform(sum.begin(), sum.end(), values.begin(), sum.begin(), std::plus<>());
    }
    for (float& value : sum) {
        value /= static_cast<float>(count);
    }
    return sum;
}

void normalise(std::vector<float>& feature) {
    double squares = 0;
    for (const float value : feature) {
        squares += static_cast<double>(value) * value;
    }
    const auto norm = std::max(static_cast<float>(std::sqrt(squares)), 1e-12F);
    for (float& value : feature) {
        value /= norm;
    }
}

const Tensor& output(const Tensors& outputs, const char* name, std::size_t rows) {
    const auto found = outputs.find(name);
    if (found == outputs.end() || found->second.shape.size() != 2 ||
        found->second.shape[0] != static_cast<std::int64_t>(rows)) {
        fail<BackendError>("text_encoder.onnx gave ",
                           found == outputs.end() ? "nothing" : "shape " + text_of_shape(found->second.shape), " for ",
                           name, " of ", rows, " texts. Export the bundle again");
    }
    return found->second;
}

Tokenizer load_tokenizer(const Bundle& bundle) {
    try {
        return Tokenizer::from_json(bundle.read(kTokenizer));
    } catch (const BundleError& error) {
        fail<BundleError>(kTokenizer, " in ", bundle.folder, ": ", error.what());
    }
}

void append(Tensor& tensor, const std::vector<float>& row) {
    if (!tensor.shape.empty() && tensor.shape[1] != static_cast<std::int64_t>(row.size())) {
        fail<BackendError>("text_encoder.onnx gave rows of ", tensor.shape[1], " and of ", row.size(),
                           " values. Export the bundle again");
    }
    tensor.shape = {tensor.shape.empty() ? 1 : tensor.shape[0] + 1, static_cast<std::int64_t>(row.size())};
    tensor.values.insert(tensor.values.end(), row.begin(), row.end());
}

}  // namespace

TextEncoder::TextEncoder(const Bundle& bundle, const Graph& graph, std::size_t memory_mb)
    : spec_(bundle.manifest.text), tokenizer_(load_tokenizer(bundle)), graph_(graph), memory_mb_(memory_mb) {}

EncodedWords TextEncoder::encode(std::span<const std::string> words) const {
    std::vector<Known> found = recall(words);
    if (std::find(found.begin(), found.end(), nullptr) != found.end()) {
        const std::lock_guard encoding(encode_mutex_);
        found = recall(words);
        learn(words, found);
    }
    EncodedWords encoded;
    for (std::size_t at = 0; at < words.size(); ++at) {
        append(encoded.tokens, found[at]->token);
        append(encoded.features, found[at]->feature);
        if (found[at]->truncated) {
            encoded.truncated.push_back(words[at]);
        }
    }
    return encoded;
}

std::vector<TextEncoder::Known> TextEncoder::recall(std::span<const std::string> words) const {
    const std::lock_guard lock(known_mutex_);
    std::vector<Known> found;
    for (const std::string& word : words) {
        const auto known = known_.find(word);
        found.push_back(known == known_.end() ? nullptr : known->second);
    }
    return found;
}

void TextEncoder::learn(std::span<const std::string> words, std::vector<Known>& found) const {
    std::vector<std::size_t> missing;
    for (std::size_t at = 0; at < words.size(); ++at) {
        if (!found[at]) {
            missing.push_back(at);
        }
    }
    const auto context = static_cast<std::uint64_t>(spec_.context_length);
    for (std::size_t start = 0; start < missing.size();) {
        const std::size_t step = words_per_call(memory_mb_, context, width_, spec_.templates.size());
        const auto part = std::span(missing).subspan(start, std::min(step, missing.size() - start));
        encode_new(words, part, found);
        start += part.size();
    }
    const std::lock_guard lock(known_mutex_);
    if (known_.size() + missing.size() > kMostKnown) {
        known_.clear();
    }
    for (const std::size_t at : missing) {
        known_.emplace(words[at], found[at]);
    }
}

void TextEncoder::encode_new(std::span<const std::string> words, std::span<const std::size_t> places,
                             std::vector<Known>& found) const {
    const std::size_t templates = spec_.templates.size(), rows = places.size() * templates;
    std::vector<std::int64_t> token_ids;
    std::vector<bool> truncated(places.size(), false);
    for (std::size_t at = 0; at < places.size(); ++at) {
        for (const std::string& one : spec_.templates) {
            const TokenIds tokens = encode_prompt(tokenizer_, one, words[places[at]], spec_);
            token_ids.insert(token_ids.end(), tokens.ids.begin(), tokens.ids.end());
            truncated[at] = truncated[at] || tokens.truncated;
        }
    }
    const Tensors outputs = graph_.run(
        {{"token_ids", Feed({static_cast<std::int64_t>(rows), spec_.context_length}, std::span(std::as_const(token_ids)))}});
    const Tensor& tokens = output(outputs, "text_tokens", rows);
    const Tensor& features = output(outputs, "text_features", rows);
    width_ = tokens.row_size();
    for (std::size_t at = 0; at < places.size(); ++at) {
        auto encoded = std::make_shared<Encoded>();
        encoded->token = mean_of_rows(tokens, at * templates, templates);
        encoded->feature = mean_of_rows(features, at * templates, templates);
        normalise(encoded->feature);
        encoded->truncated = truncated[at];
        if (!all_finite(encoded->token) || !all_finite(encoded->feature)) {
            fail<BackendError>("the model gave NaN or infinity for the word '", words[places[at]],
                               "': the bundle's text weights are damaged. Get the bundle again, or export it again");
        }
        found[places[at]] = std::move(encoded);
    }
}

}  // namespace clsclip
