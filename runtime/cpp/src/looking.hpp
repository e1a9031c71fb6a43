/// Looking at a picture for words: which crops are asked for which words, and their way through the graphs.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "clsclip/clsclip.hpp"
#include "graphs.hpp"
#include "pairs.hpp"
#include "regions/proposals.hpp"

namespace clsclip {

/// Classes of the proposals that each word means, by number.
using ClassesOfWords = std::vector<std::vector<int>>;

/// Milliseconds by step, in the order in which steps began.
class Account {
public:
    /// Adds the time until its end to one step.
    class Step {
    public:
        Step(Account& account, std::string name) : account_(account), name_(std::move(name)) {}
        Step(const Step&) = delete;
        Step& operator=(const Step&) = delete;
        ~Step() {
            const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start_;
            account_.add(name_, taken.count());
        }

    private:
        Account& account_;
        std::string name_;
        std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    };

    void add(const std::string& step, double milliseconds);
    [[nodiscard]] std::vector<Timing> take() { return std::move(timings_); }

private:
    std::vector<Timing> timings_;
};

/// One picture of a call, and what was found in it.
struct Look {
    ImageView image;
    std::shared_ptr<const Tensors> arrays;  ///< the encoder's outputs for the whole picture, where they are there
    std::optional<Proposals> proposals;     ///< boxes to look at; none looks at the whole picture
    ClassesOfWords classes;                 ///< of every word

    std::vector<float> presence;   ///< (K) highest presence in any crop looked at; NaN where none was
    std::vector<bool> segmented;   ///< (K) words with at least one pair
    std::vector<bool> in_regions;  ///< (K) words that were asked of a region
    std::vector<bool> in_whole;    ///< (K) words that were asked of the whole picture
    std::vector<Pair> pairs;
    std::vector<float> logits;  ///< (P, h, w)

    [[nodiscard]] Window whole() const { return {0, 0, image.width, image.height}; }
    /// Whether word k is asked of box n, by its class or because it may be anything.
    [[nodiscard]] bool asks(std::size_t box, std::size_t word) const;
};

/// What a call asks, beside the picture.
struct Question {
    std::span<const std::string> words;
    const EncodedWords& encoded;
    double threshold = 0;  ///< of presence
    ZoomIn zoom;
    std::size_t memory_mb = 0;
    std::size_t most_pairs = 0;  ///< of a call, beside memory_mb; 0 is no bound
};

/// Take a look through a bundle's graphs. BackendError: the engine failed, or gave NaN.
void look_for(Look& look, const Question& question, const Graphs& graphs, const Manifest& manifest, Account& account);

/// Every box that a word is asked of as a mask of that word, nothing drawn: logits (P, 1, 1) above `cut`.
void take_boxes(Look& look, std::size_t words, float cut);

}  // namespace clsclip
