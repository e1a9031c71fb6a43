/// The way of pairs through the trunk.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "clsclip/clsclip.hpp"
#include "inference/model.hpp"
#include "text/encoded.hpp"

namespace clsclip {

/// What the trunk gave for P pairs, in the order in which they were added.
struct PairOutputs {
    std::vector<float> logits;    ///< (P, h, w)
    std::vector<float> presence;  ///< (P) in 0..1; empty where presence does not come from the trunk
};

/// Sends pairs through the trunk, always as many together as one call may hold.
///
/// Encoded crops are kept only until their last pair is done, so memory is bounded however many crops there are.
class PairQueue {
public:
    /// All of it must outlive the queue.
    PairQueue(const LoadedModel& model, const EncodedWords& encoded, std::span<const std::string> classes,
              const Manifest& manifest, const Limits& limits);

    /// Add pairs of encoded crops; their logits come in the order in which they were added.
    ///
    /// `crops` are positions in `features`, ascending, and `classes` as many positions of classes. OptionError: all
    /// logits would exceed result_mb. BackendError.
    void add(const std::shared_ptr<const Tensors>& features, std::vector<std::int64_t> crops,
             std::vector<std::int64_t> classes);

    /// The outputs of all pairs since the last call. BackendError: the backend failed, or gave NaN; also from add().
    [[nodiscard]] PairOutputs finish();

private:
    /// Pairs of encoded crops, of which `done` have gone through the trunk.
    struct PairBatch {
        std::shared_ptr<const Tensors> features;
        std::vector<std::int64_t> crops, classes;
        std::size_t done = 0;
    };

    void call();

    const LoadedModel& model_;
    const EncodedWords& encoded_;
    std::span<const std::string> classes_;
    const Manifest& manifest_;
    const Limits& limits_;
    std::size_t pairs_per_call_;
    std::deque<PairBatch> waiting_;
    std::size_t count_ = 0, total_ = 0;
    PairOutputs done_;
};

}  // namespace clsclip
