/// SHA-256 (FIPS 180-4), as a bundle's manifest states it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "sha256_blocks.hpp"

namespace clsclip {

/// Takes bytes in any portions and gives their SHA-256.
class Sha256 {
public:
    explicit Sha256(Sha256Blocks* blocks = fastest_sha256_blocks()) : blocks_(blocks) {}

    void update(std::span<const std::uint8_t> bytes);
    /// 64 lower-case hexadecimal digits; nothing may be added afterwards.
    [[nodiscard]] std::string hex();

private:
    Sha256Blocks* blocks_;
    Sha256State state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, 64> waiting_{};
    std::size_t waiting_size_ = 0;
    std::uint64_t total_ = 0;
};

}  // namespace clsclip
