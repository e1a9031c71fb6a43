/// How much goes into a call, by the memory that the manifest estimates.
#pragma once

#include <algorithm>
#include <cstdint>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// As many as fit into `memory_mb` MiB, of so many bytes each; at least one.
[[nodiscard]] inline std::size_t fitting(std::uint64_t memory_mb, std::uint64_t bytes) {
    return std::max<std::uint64_t>(1, (memory_mb << 20) / std::max<std::uint64_t>(1, bytes));
}

/// Pairs, or crops, of one call, of so many bytes each; at least one.
[[nodiscard]] inline std::size_t per_call(const Limits& limits, std::uint64_t bytes) {
    const std::size_t fit = fitting(limits.memory_mb, bytes);
    return limits.pairs_per_call == 0 ? fit : std::min(fit, limits.pairs_per_call);
}

/// Fewer pairs leave matrix products too small.
inline constexpr std::size_t kFastPairs = 16;

/// Pairs of one call of the trunk; `fast_mb` is what the backend states, see Backend.
[[nodiscard]] inline std::size_t pairs_per_call(const Limits& limits, std::uint64_t bytes, std::uint64_t fast_mb) {
    const std::size_t most = per_call(limits, bytes);
    if (fast_mb == 0 || limits.pairs_per_call != 0) {
        return most;
    }
    return std::min(most, std::max(kFastPairs, fitting(fast_mb, bytes)));
}

/// Words that the text encoder takes at a time, at least one; at most 256 rows of tokens.
[[nodiscard]] inline std::size_t words_per_call(std::uint64_t memory_mb, std::uint64_t word_bytes,
                                                std::size_t templates) {
    return std::max<std::size_t>(1, std::min<std::size_t>(256, fitting(memory_mb, word_bytes)) / templates);
}

}  // namespace clsclip
