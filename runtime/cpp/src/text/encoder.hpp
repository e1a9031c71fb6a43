/// Words to text features, each word encoded once.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "bundle/bundle.hpp"
#include "graph.hpp"
#include "text/encoded.hpp"
#include "text/word_table.hpp"
#ifdef CLSCLIP_HAS_TOKENIZER
#include "text/tokenizer.hpp"
#endif

namespace clsclip {

/// Knows words from a bundle's table of words, and encodes others with its tokenizer and text graph where it has them.
/// Safe to share between threads.
class TextEncoder {
public:
    /// `graph` is the text encoder, which must outlive it, or null. BundleError: a file is damaged, or this build cannot
    /// use what the bundle has.
    TextEncoder(const Bundle& bundle, const Graph* graph, std::size_t memory_mb);

    /// Encode clean words; those met before are remembered. WordError: a word is not known, and there is no text encoder.
    /// BackendError: the backend failed, or gave NaN.
    [[nodiscard]] EncodedWords encode(std::span<const std::string> words) const;

    /// Whether encode() can encode a word.
    [[nodiscard]] bool knows(const std::string& word) const;

private:
    using Known = std::shared_ptr<const EncodedWord>;

    /// What is known of every word; nothing of those that were not met yet.
    [[nodiscard]] std::vector<Known> recall(std::span<const std::string> words) const;
    /// Look up or encode the words of which nothing is found, as many together as one call may hold.
    void learn(std::span<const std::string> words, std::vector<Known>& found) const;
    void encode_new(std::span<const std::string> words, std::span<const std::size_t> places,
                    std::vector<Known>& found) const;
    [[noreturn]] void fail_unknown(const std::string& word) const;
    [[nodiscard]] bool encodes() const;

    TextSpec spec_;
    const Graph* graph_;
    std::size_t memory_mb_;
    std::uint64_t word_bytes_;
    std::optional<WordTable> table_;
#ifdef CLSCLIP_HAS_TOKENIZER
    std::optional<Tokenizer> tokenizer_;
#endif
    // Held while new words are encoded, so that two threads never encode the same word.
    mutable std::mutex encode_mutex_;
    mutable std::mutex known_mutex_;
    mutable std::unordered_map<std::string, Known> known_;
    mutable std::size_t known_bytes_ = 0;
};

}  // namespace clsclip
