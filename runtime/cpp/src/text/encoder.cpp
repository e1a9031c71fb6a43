#include "text/encoder.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include "errors.hpp"
#include "limits.hpp"

namespace clsclip {

namespace {

/// Of remembered words. At CLIP ViT-B/16's widths that is 16,384 words.
constexpr std::size_t kMostBytes = std::size_t{64} << 20;
constexpr std::size_t kMostShown = 20;

#ifdef CLSCLIP_HAS_TOKENIZER
/// The mean over a word's templates: rows first .. first + count.
std::vector<float> mean_of_rows(const Tensor& tensor, std::size_t first, std::size_t count) {
    const auto row = tensor.row(first);
    std::vector<float> sum(row.begin(), row.end());
    for (std::size_t at = first + 1; at < first + count; ++at) {
        const auto values = tensor.row(at);
        std::transform(sum.begin(), sum.end(), values.begin(), sum.begin(), std::plus<>());
    }
    for (float& value : sum) {
        value /= static_cast<float>(count);
    }
    return sum;
}

void normalize(std::vector<float>& feature) {
    double squares = 0;
    for (const float value : feature) {
        squares += static_cast<double>(value) * value;
    }
    const auto norm = std::max(static_cast<float>(std::sqrt(squares)), 1e-12F);
    for (float& value : feature) {
        value /= norm;
    }
}
#endif

std::size_t bytes_of(const std::string& word, const EncodedWord& encoded) {
    std::size_t bytes = word.size() + 128;  // and what the containers take, about
    for (const auto& [name, values] : encoded.features) {
        bytes += name.size() + 64 + values.size() * sizeof(float);
    }
    return bytes;
}

}  // namespace

TextEncoder::TextEncoder(const Bundle& bundle, const Graph* graph, std::size_t memory_mb)
    : spec_(bundle.manifest.text), graph_(graph), memory_mb_(memory_mb),
      word_bytes_(bundle.manifest.memory.word_bytes) {
    if (bundle.has(kWordTable)) {
        table_.emplace(bundle.path(kWordTable), bundle.read(kWordTable), spec_.features);
    }
#ifdef CLSCLIP_HAS_TOKENIZER
    if (graph_ != nullptr) {
        try {
            const auto file = bundle.read(kTokenizer);
            tokenizer_ = Tokenizer::from_json(
                {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()});
        } catch (const BundleError& error) {
            fail<BundleError>(kTokenizer, " in ", bundle.folder, ": ", error.what());
        }
    }
#else
    if (!table_) {
        fail<BundleError>("this build of clsclip has no tokenizer, and ", bundle.folder, " has no ", kWordTable,
                          ". Export it with clsclip-export --classes-file words.txt, or build with "
                          "-DCLSCLIP_TOKENIZER=ON");
    }
#endif
}

bool TextEncoder::encodes() const {
#ifdef CLSCLIP_HAS_TOKENIZER
    return tokenizer_.has_value();
#else
    return false;
#endif
}

bool TextEncoder::knows(const std::string& word) const { return encodes() || table_->has(word); }

EncodedWords TextEncoder::encode(std::span<const std::string> words) const {
    std::vector<Known> found = recall(words);
    if (std::find(found.begin(), found.end(), nullptr) != found.end()) {
        const std::lock_guard encoding(encode_mutex_);
        found = recall(words);
        learn(words, found);
    }
    EncodedWords encoded;
    for (const FeatureSpec& one : spec_.features) {
        Tensor& array = encoded.arrays[one.name];
        array.shape = one.with_rows(static_cast<std::int64_t>(words.size()));
        array.values.reserve(count_of(array.shape));
        for (const Known& word : found) {
            const std::vector<float>& values = word->features.at(one.name);
            array.values.insert(array.values.end(), values.begin(), values.end());
        }
    }
    for (std::size_t at = 0; at < words.size(); ++at) {
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
    std::vector<std::size_t> fresh, missing;
    for (std::size_t at = 0; at < words.size(); ++at) {
        if (found[at]) {
            continue;
        }
        fresh.push_back(at);
        std::optional<EncodedWord> listed = table_ ? table_->find(words[at]) : std::nullopt;
        if (listed) {
            found[at] = std::make_shared<EncodedWord>(std::move(*listed));
        } else if (encodes()) {
            missing.push_back(at);
        } else {
            fail_unknown(words[at]);
        }
    }
    for (std::size_t start = 0; start < missing.size();) {
        const std::size_t step = words_per_call(memory_mb_, word_bytes_, spec_.templates.size());
        const auto part = std::span(missing).subspan(start, std::min(step, missing.size() - start));
        encode_new(words, part, found);
        start += part.size();
    }
    const std::lock_guard lock(known_mutex_);
    for (const std::size_t at : fresh) {
        const std::size_t bytes = bytes_of(words[at], *found[at]);
        if (known_bytes_ + bytes > kMostBytes) {
            known_.clear();
            known_bytes_ = 0;
        }
        known_bytes_ += known_.emplace(words[at], found[at]).second ? bytes : 0;
    }
}

void TextEncoder::fail_unknown(const std::string& word) const {
    const std::vector<std::string>& all = table_->words();
    std::string names = joined(std::span(all).first(std::min(all.size(), kMostShown)));
    if (all.size() > kMostShown) {
        names += text_of(" and ", all.size() - kMostShown, " more");
    }
    const char* whose = graph_ == nullptr ? "the bundle" : "this build of clsclip has no tokenizer, so it";
    fail<WordError>(whose, " knows ", all.size(), " words and '", word, "' is not among them. It knows: ", names,
                    graph_ == nullptr ? ". Export it with a text encoder, or with this word in --classes-file"
                                      : ". Export the bundle with this word in --classes-file, or build clsclip with "
                                        "-DCLSCLIP_TOKENIZER=ON");
}

#ifdef CLSCLIP_HAS_TOKENIZER
void TextEncoder::encode_new(std::span<const std::string> words, std::span<const std::size_t> places,
                             std::vector<Known>& found) const {
    const std::size_t templates = spec_.templates.size(), rows = places.size() * templates;
    std::vector<std::int64_t> token_ids;
    std::vector<std::shared_ptr<EncodedWord>> encoded;
    for (const std::size_t place : places) {
        encoded.push_back(std::make_shared<EncodedWord>());
        for (const std::string& one : spec_.templates) {
            const TokenIds tokens = encode_prompt(*tokenizer_, one, words[place], spec_);
            token_ids.insert(token_ids.end(), tokens.ids.begin(), tokens.ids.end());
            encoded.back()->truncated = encoded.back()->truncated || tokens.truncated;
        }
    }
    const auto count = static_cast<std::int64_t>(rows);
    const Tensors outputs =
        graph_->run({{"token_ids", Feed({count, spec_.context_length}, std::span(std::as_const(token_ids)))}});
    for (const FeatureSpec& one : spec_.features) {
        const auto output = outputs.find(one.name);
        if (output == outputs.end() || output->second.shape != one.with_rows(count)) {
            fail<BackendError>(kTextEncoder, " gave ",
                               output == outputs.end() ? "nothing" : "shape " + text_of_shape(output->second.shape),
                               " for ", one.name, ", and ", text_of_shape(one.with_rows(count)),
                               " was expected. Export the bundle again");
        }
        for (std::size_t at = 0; at < places.size(); ++at) {
            std::vector<float> values = mean_of_rows(output->second, at * templates, templates);
            if (one.unit_norm) {
                normalize(values);
            }
            if (!all_finite(values)) {
                fail<BackendError>("the model gave NaN or infinity for the word '", words[places[at]],
                                   "': the bundle's text weights are damaged. Get the bundle again, or export it again");
            }
            encoded[at]->features[one.name] = std::move(values);
        }
    }
    for (std::size_t at = 0; at < places.size(); ++at) {
        found[places[at]] = std::move(encoded[at]);
    }
}
#else
void TextEncoder::encode_new(std::span<const std::string>, std::span<const std::size_t>, std::vector<Known>&) const {}
#endif

}  // namespace clsclip
