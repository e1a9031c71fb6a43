/// The graphs of a bundle, loaded into a backend; what they are fed and what they give is checked here.
///
/// Features of crops and of words are passed on by name. What they mean is between the graphs.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/bundle.hpp"
#include "graph.hpp"
#include "text/encoded.hpp"

namespace clsclip {

/// What the trunk gives for P pairs.
struct TrunkOutput {
    Tensor logits;                ///< (P, h, w)
    std::vector<float> presence;  ///< (P) in 0..1; empty where presence does not come from the trunk
};

/// A bundle's image encoder, presence graph, trunk and text encoder in one backend. Safe to share between threads.
class LoadedModel {
public:
    /// Of image encoder and stem, which is a part of it, only the one is loaded that `encode` will use most; the other
    /// when it is needed. `for_presence` says what most calls of `encode` will ask; bundle and backend must outlive the
    /// model. BundleError or BackendError when one cannot be loaded.
    LoadedModel(const Bundle& bundle, const Backend& backend, bool for_presence);

    /// None where the bundle leaves it out.
    [[nodiscard]] const Graph* text() const noexcept { return text_.get(); }
    /// As the backend states it.
    [[nodiscard]] std::uint64_t fast_mb() const { return backend_.fast_mb(); }
    /// Whether the trunk takes a feature of this name.
    [[nodiscard]] bool trunk_takes(std::string_view name) const;

    /// Whether presence can be asked of these features of crops.
    [[nodiscard]] bool serves_presence(const Tensors& features) const;

    /// The features of crops (C, 3, S, S), which all classes share; `for_presence` gives what presence.onnx needs too,
    /// which takes all layers of the encoder and not the stem alone. BackendError: the backend failed, or gave NaN or
    /// another shape than the manifest states. BundleError: a graph is loaded only now, and its file is not any more what
    /// was verified.
    [[nodiscard]] Tensors encode(const Tensor& pixel_values, bool for_presence) const;

    /// Presence (C, K) in 0..1 of every class in every crop, before the trunk; `memory_mb` bounds a call. BackendError.
    [[nodiscard]] Tensor presence(const Tensors& features, const EncodedWords& encoded,
                                  std::span<const std::string> classes, std::size_t memory_mb) const;

    /// P pairs in one call; `classes` (P) are for messages. BackendError: the backend failed, or gave NaN.
    [[nodiscard]] TrunkOutput trunk(const Tensors& features, const Tensors& text,
                                    std::span<const std::int64_t> crop_index, std::span<const std::int64_t> class_index,
                                    const std::vector<std::string_view>& classes) const;

private:
    [[nodiscard]] const Graph& encoder(bool whole) const;

    const Bundle& bundle_;
    const Backend& backend_;
    std::vector<FeatureSpec> features_, text_features_;
    MaskSpec mask_;
    std::optional<PresenceSpec> presence_spec_;
    std::uint64_t presence_pair_bytes_;
    std::unique_ptr<Graph> trunk_, presence_, text_;
    bool has_stem_ = false;  ///< that gives all that the trunk takes
    mutable std::mutex mutex_;
    mutable std::unique_ptr<Graph> image_encoder_, stem_;
};

}  // namespace clsclip
