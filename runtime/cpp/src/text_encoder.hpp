/// Words to text tokens and text features, each word encoded once.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "bundle/bundle.hpp"
#include "graphs.hpp"
#include "text/tokenizer.hpp"

namespace clsclip {

/// Encodes words with a bundle's tokenizer and text graph. Safe to share between threads.
class TextEncoder {
public:
    /// `graph` must outlive it. BundleError: the tokenizer is damaged.
    TextEncoder(const Bundle& bundle, const Graph& graph, std::size_t memory_mb);

    /// Encode clean words; those met before are remembered. BackendError: the engine failed, or gave NaN.
    [[nodiscard]] EncodedWords encode(std::span<const std::string> words) const;

private:
    struct Encoded {
        std::vector<float> token, feature;
        bool truncated = false;
    };
    using Known = std::shared_ptr<const Encoded>;

    /// What is known of every word; nothing of those that were not met yet.
    [[nodiscard]] std::vector<Known> recall(std::span<const std::string> words) const;
    /// Encode the words of which nothing is found, as many together as one call may hold.
    void learn(std::span<const std::string> words, std::vector<Known>& found) const;
    void encode_new(std::span<const std::string> words, std::span<const std::size_t> places,
                    std::vector<Known>& found) const;

    TextSpec spec_;
    Tokenizer tokenizer_;
    const Graph& graph_;
    std::size_t memory_mb_;
    mutable std::size_t width_ = 64;
    // Held while new words are encoded, so that two threads never encode the same word.
    mutable std::mutex encode_mutex_;
    mutable std::mutex known_mutex_;
    mutable std::unordered_map<std::string, Known> known_;
};

}  // namespace clsclip
