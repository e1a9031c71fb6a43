/// Byte-pair encoding: pieces of text to token ids by a vocabulary and ranked merges.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace clsclip {

/// The model of a tokenizer.
class BytePairs {
public:
    using Vocabulary = std::map<std::string, std::int32_t, std::less<>>;

    /// How characters and whole words are looked up.
    struct Options {
        std::optional<std::string> unknown;  ///< token of characters that the vocabulary lacks; none: they are left out
        std::string prefix;                  ///< put before every character of a word but the first
        std::string suffix;                  ///< put behind the last character of a word
        bool fuse_unknown = false;           ///< one unknown token for several such characters in a row
        bool ignore_merges = false;          ///< a word that is in the vocabulary is not taken apart
    };

    BytePairs() = default;

    /// BundleError: a merge, or the unknown token, is not in the vocabulary.
    BytePairs(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges, Options options);

    /// Append the ids of a word. Takes O(n log n) for n characters.
    void encode(std::u32string_view word, std::vector<std::int64_t>& ids) const;

    [[nodiscard]] std::optional<std::int32_t> id_of(std::string_view token) const;
    [[nodiscard]] std::size_t size() const noexcept { return vocabulary_.size(); }

private:
    struct Merge {
        std::uint64_t pair;
        std::uint32_t rank;
        std::int32_t id;
    };
    struct Symbol;

    [[nodiscard]] const Merge* find(std::int32_t left, std::int32_t right) const;
    [[nodiscard]] std::vector<Symbol> symbols_of(std::u32string_view word) const;
    void join(std::vector<Symbol>& symbols) const;

    Vocabulary vocabulary_;
    std::vector<Merge> merges_;  ///< by pair; binary search cannot be made slow by a file, as hash tables can
    Options options_;
    std::optional<std::int32_t> unknown_;
};

}  // namespace clsclip
