#include "sha256.hpp"

#include <algorithm>
#include <bit>

namespace clsclip {

namespace {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr std::array<std::uint32_t, 64> kRounds{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

}  // namespace

void Sha256::update(std::span<const std::uint8_t> bytes) {
    total_ += bytes.size();
    if (waiting_size_ > 0) {
        const std::size_t taken = std::min(bytes.size(), waiting_.size() - waiting_size_);
        std::copy_n(bytes.begin(), taken, waiting_.begin() + static_cast<std::ptrdiff_t>(waiting_size_));
        waiting_size_ += taken;
        bytes = bytes.subspan(taken);
        if (waiting_size_ < waiting_.size()) {
            return;
        }
        block(waiting_.data());
        waiting_size_ = 0;
    }
    while (bytes.size() >= waiting_.size()) {
        block(bytes.data());
        bytes = bytes.subspan(waiting_.size());
    }
    std::copy(bytes.begin(), bytes.end(), waiting_.begin());
    waiting_size_ = bytes.size();
}

std::string Sha256::hex() {
    const std::uint64_t bits = total_ * 8;
    const std::array<std::uint8_t, 64> padding{0x80};
    update(std::span(padding).first((waiting_size_ < 56 ? 56 : 120) - waiting_size_));
    std::array<std::uint8_t, 8> length{};
    for (std::size_t at = 0; at < 8; ++at) {
        length[at] = static_cast<std::uint8_t>(bits >> (56 - 8 * at));
    }
    update(length);
    std::string digits;
    for (const std::uint32_t word : state_) {
        for (int shift = 28; shift >= 0; shift -= 4) {
            digits += "0123456789abcdef"[(word >> shift) & 15U];
        }
    }
    return digits;
}

void Sha256::block(const std::uint8_t* bytes) {
    std::array<std::uint32_t, 64> words;
    for (std::size_t at = 0; at < 16; ++at) {
        const std::uint8_t* four = bytes + 4 * at;
        words[at] = std::uint32_t{four[0]} << 24 | std::uint32_t{four[1]} << 16 | std::uint32_t{four[2]} << 8 | four[3];
    }
    for (std::size_t at = 16; at < 64; ++at) {
        const std::uint32_t before15 = words[at - 15], before2 = words[at - 2];
        const std::uint32_t small0 = std::rotr(before15, 7) ^ std::rotr(before15, 18) ^ (before15 >> 3);
        const std::uint32_t small1 = std::rotr(before2, 17) ^ std::rotr(before2, 19) ^ (before2 >> 10);
        words[at] = words[at - 16] + small0 + words[at - 7] + small1;
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t at = 0; at < 64; ++at) {
        const std::uint32_t big1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
        const std::uint32_t choice = (e & f) ^ (~e & g);
        const std::uint32_t first = h + big1 + choice + kRounds[at] + words[at];
        const std::uint32_t big0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
        const std::uint32_t second = big0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    const std::array<std::uint32_t, 8> added{a, b, c, d, e, f, g, h};
    for (std::size_t at = 0; at < 8; ++at) {
        state_[at] += added[at];
    }
}

}  // namespace clsclip
