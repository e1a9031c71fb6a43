/// Pairs of a crop and a word, the unit of work, and their way through the trunk.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"
#include "graphs.hpp"

namespace clsclip {

/// The box of a pair that looks at the whole picture.
inline constexpr std::int64_t kWhole = -1;

/// One pair that was segmented.
struct Pair {
    std::size_t word = 0;     ///< position in the words asked
    Window window;            ///< the crop
    Window limit;             ///< the part of it in which the mask may be
    float cut = 0;            ///< the logit that a pixel must exceed to belong to the word
    std::int64_t box = kWhole;  ///< position in the proposals
    std::optional<float> presence;  ///< how likely the crop shows the word; none without a gate
};

/// Sends pairs through the trunk, always as many together as one call may hold.
///
/// Encoded crops are kept only until their last pair is done, so memory is bounded however many crops there are.
class PairQueue {
public:
    /// `most` bounds the pairs of a call beside `memory_mb`; 0 is no bound.
    PairQueue(const Graphs& graphs, const Tensor& text_tokens, std::span<const std::string> words, MaskSpec mask,
              std::size_t memory_mb, std::size_t most);

    /// Add pairs of encoded crops; their logits come in the order in which they were added.
    ///
    /// `crops` are positions in `arrays`, ascending, and `words` as many positions of words. BackendError.
    void add(const std::shared_ptr<const Tensors>& arrays, std::vector<std::int64_t> crops,
             std::vector<std::int64_t> words);

    /// Logits (P, h, w) of all pairs. BackendError: the engine failed, or gave NaN; also from add().
    [[nodiscard]] std::vector<float> finish();

private:
    struct Waiting {
        std::shared_ptr<const Tensors> arrays;
        std::vector<std::int64_t> crops, words;
        std::size_t done = 0;
    };

    [[nodiscard]] std::size_t step(const Tensors& arrays) const;
    void call(std::size_t most);

    const Graphs& graphs_;
    const Tensor& text_tokens_;
    std::span<const std::string> words_;
    MaskSpec mask_;
    std::size_t memory_mb_, most_;
    std::deque<Waiting> waiting_;
    std::size_t count_ = 0;
    std::vector<float> logits_;
};

}  // namespace clsclip
