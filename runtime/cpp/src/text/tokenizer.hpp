/// Texts to token ids, as the `tokenizers` library does with the same tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.hpp"
#include "text/byte_pairs.hpp"
#include "text/normalizer.hpp"
#include "text/pre_tokenizer.hpp"

namespace clsclip {

/// A text of a fixed number of tokens.
struct TokenIds {
    std::vector<std::int64_t> ids;
    bool truncated = false;  ///< the text's end was cut off
};

/// A tokenizer. Safe to share between threads.
class Tokenizer {
public:
    /// Read a tokenizer.json: byte pairs, with the normalisers, splits and templates that CLIP's and the stickers' have.
    ///
    /// BundleError: it is not JSON, is damaged, or has a part that this version does not know.
    [[nodiscard]] static Tokenizer from_json(std::string_view document);

    /// Ids of a whole text in UTF-8, start and end tokens included. WordError: it is not UTF-8.
    [[nodiscard]] std::vector<std::int64_t> encode(std::string_view text) const;

    /// Ids of a text cut off or padded at its end to `length` tokens. BundleError: start and end alone are longer.
    [[nodiscard]] TokenIds encode(std::string_view text, int length, std::int64_t pad_id) const;

private:
    friend class TokenizerReader;

    /// A token that is found in texts before they are split into words.
    struct Added {
        std::u32string text;
        std::int32_t id;
    };

    void encode_text(std::u32string_view text, std::vector<std::int64_t>& ids) const;
    void encode_normalized(std::u32string_view text, std::vector<std::int64_t>& ids) const;

    Normalizer normalizer_;
    PreTokenizer pre_tokenizer_;
    BytePairs model_;
    std::vector<Added> added_;             ///< found in texts as they are given; the longest first
    std::vector<Added> added_normalized_;  ///< found in normalized texts; the longest first
    std::vector<std::int64_t> start_, end_;
};

/// The prompt of a word: the template with the word in place of {}, capital sigmas that end a word in their final form.
[[nodiscard]] std::string prompt_of(std::string_view template_text, std::string_view word);

/// Token ids of the prompt of a word, of spec.context_length tokens. Throws as Tokenizer::encode.
[[nodiscard]] TokenIds encode_prompt(const Tokenizer& tokenizer, std::string_view template_text, std::string_view word,
                                     const TextSpec& spec);

}  // namespace clsclip
