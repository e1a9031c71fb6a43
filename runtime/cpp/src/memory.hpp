/// How much memory a pair takes in the trunk, and so how many go through it at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "bundle/manifest.hpp"

namespace clsclip {

/// Estimated peak of activations in bytes for one (crop, class) pair in the trunk:
/// 4 * (20*T*d + 2*H*T*T + h*w*d/2), with T tokens of width d, H attention heads and h x w logits.
[[nodiscard]] inline std::uint64_t pair_bytes(std::uint64_t tokens, std::uint64_t width, std::uint64_t height_out,
                                              std::uint64_t width_out) {
    const std::uint64_t heads = (width + 31) / 32;
    const std::uint64_t values = 20 * tokens * width + 2 * heads * tokens * tokens +
                                 height_out * width_out * std::max<std::uint64_t>(1, width / 2);
    return 4 * values;
}

/// As many pairs as fit into `memory_mb` MiB, at least one.
[[nodiscard]] inline std::size_t pairs_per_call(std::uint64_t memory_mb, std::uint64_t bytes_per_pair) {
    return std::max<std::uint64_t>(1, (memory_mb << 20) / std::max<std::uint64_t>(1, bytes_per_pair));
}

/// As many crops as the image encoder takes at a time, at least one. Bundles whose manifest does not state patch size
/// and width are taken for large ones.
[[nodiscard]] inline std::size_t crops_per_call(std::uint64_t memory_mb, const Manifest& manifest) {
    const auto size = static_cast<std::uint64_t>(manifest.image.size);
    const std::uint64_t side = size / static_cast<std::uint64_t>(manifest.patch_size.value_or(14));
    const std::uint64_t pixels = 2 * 3 * size * size * 4;
    const auto width = static_cast<std::uint64_t>(manifest.width.value_or(1024));
    return pairs_per_call(memory_mb, pixels + pair_bytes(1 + side * side, width, 1, 1));
}

/// As many words as the text encoder takes at a time, at least one, at most 256 rows of tokens.
[[nodiscard]] inline std::size_t words_per_call(std::uint64_t memory_mb, std::uint64_t context_length,
                                                std::uint64_t width, std::size_t templates) {
    const std::size_t rows = pairs_per_call(memory_mb, pair_bytes(context_length, std::max<std::uint64_t>(1, width), 1, 1));
    return std::max<std::size_t>(1, std::min<std::size_t>(256, rows) / templates);
}

}  // namespace clsclip
