/// The graphs of a bundle, loaded into an engine; what they are fed and what they give is checked here.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/engine.hpp"
#include "bundle/bundle.hpp"

namespace clsclip {

/// Words after the text encoder.
struct EncodedWords {
    Tensor tokens;    ///< (K, d_text)
    Tensor features;  ///< (K, f) of unit norm
    std::vector<std::string> truncated;  ///< those whose end was cut off
};

/// A bundle's image encoder, gate, trunk and text encoder in one engine. Safe to share between threads.
class Graphs {
public:
    /// BundleError or BackendError when one cannot be loaded.
    Graphs(const Bundle& bundle, const Backend& backend);

    [[nodiscard]] bool has_gate() const noexcept { return gate_ != nullptr; }
    [[nodiscard]] const Graph& text() const noexcept { return *text_; }

    /// What words share: crops (C, 3, S, S) through the image encoder. BackendError: the engine failed, or gave NaN or
    /// another number of crops.
    [[nodiscard]] Tensors encode(const Tensor& pixel_values) const;

    /// Presence (C, K) in 0..1 of every word in every crop; none without a gate. BackendError.
    [[nodiscard]] std::optional<Tensor> presence(const Tensors& arrays, const EncodedWords& encoded,
                                                 std::span<const std::string> words) const;

    /// Mask logits (P, h, w) of P pairs in one call; NaN is not looked for here. BackendError.
    [[nodiscard]] Tensor trunk(const Tensors& arrays, const Tensor& text_tokens, std::span<const std::int64_t> crops,
                               std::span<const std::int64_t> classes) const;

private:
    MaskSpec mask_;
    std::unique_ptr<Graph> image_encoder_, trunk_, gate_, text_;
};

/// Whether all values are finite.
[[nodiscard]] bool all_finite(std::span<const float> values);

/// Throw the BackendError that the model gave NaN as the `what` of `word`.
[[noreturn]] void fail_not_finite(const std::string& what, const std::string& word);

}  // namespace clsclip
