#include "sha256_blocks.hpp"

#include <array>
#include <bit>

#if defined(__GNUC__) && defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__GNUC__) && !defined(__clang__) && defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace clsclip {

namespace {

constexpr std::size_t kBlock = 64;

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

#if defined(__GNUC__) && defined(__x86_64__)

constexpr unsigned kHasSha = 1U << 29U, kHasSse41 = 1U << 19U;

bool has_instructions() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kHasSse41) == 0) {
        return false;
    }
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & kHasSha) != 0;
}

/// The instructions keep the state as (a b e f) and (c d g h), and do two rounds at a time.
__attribute__((target("sha,sse4.1"))) void blocks_by_instructions(Sha256State& state, const std::uint8_t* bytes,
                                                                  std::size_t count) {
    const auto load = [](const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); };
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    const __m128i abcd = _mm_shuffle_epi32(load(state.data()), 0xB1), efgh = _mm_shuffle_epi32(load(state.data() + 4), 0x1B);
    __m128i abef = _mm_alignr_epi8(abcd, efgh, 8), cdgh = _mm_blend_epi16(efgh, abcd, 0xF0);
    for (; count > 0; --count, bytes += kBlock) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i words[4];  // the last 16, four in each; templates would drop its alignment
#pragma GCC unroll 16
        for (std::size_t at = 0; at < 16; ++at) {
            __m128i& own = words[at % 4];
            if (at < 4) {
                own = _mm_shuffle_epi8(load(bytes + 16 * at), big_endian);
            } else {
                const __m128i last = words[(at + 3) % 4];
                const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(own, words[(at + 1) % 4]),
                                                  _mm_alignr_epi8(last, words[(at + 2) % 4], 4));
                own = _mm_sha256msg2_epu32(sum, last);
            }
            const __m128i added = _mm_add_epi32(own, load(kRounds.data() + 4 * at));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(added, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data()), _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data() + 4), _mm_alignr_epi8(dchg, feba, 8));
}

#elif defined(__GNUC__) && !defined(__clang__) && defined(__aarch64__) && defined(__linux__)

bool has_instructions() { return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0; }

__attribute__((target("+crypto"))) void blocks_by_instructions(Sha256State& state, const std::uint8_t* bytes,
                                                               std::size_t count) {
    uint32x4_t abcd = vld1q_u32(state.data()), efgh = vld1q_u32(state.data() + 4);
    for (; count > 0; --count, bytes += kBlock) {
        const uint32x4_t abcd_before = abcd, efgh_before = efgh;
        uint32x4_t words[4];  // the last 16, four in each
#pragma GCC unroll 16
        for (std::size_t at = 0; at < 16; ++at) {
            uint32x4_t& own = words[at % 4];
            own = at < 4 ? vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(bytes + 16 * at)))
                         : vsha256su1q_u32(vsha256su0q_u32(own, words[(at + 1) % 4]), words[(at + 2) % 4],
                                           words[(at + 3) % 4]);
            const uint32x4_t added = vaddq_u32(own, vld1q_u32(kRounds.data() + 4 * at)), before = abcd;
            abcd = vsha256hq_u32(abcd, efgh, added);
            efgh = vsha256h2q_u32(efgh, before, added);
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(state.data(), abcd);
    vst1q_u32(state.data() + 4, efgh);
}

#else

bool has_instructions() { return false; }

void blocks_by_instructions(Sha256State& state, const std::uint8_t* bytes, std::size_t count) {
    sha256_blocks_plain(state, bytes, count);
}

#endif

}  // namespace

void sha256_blocks_plain(Sha256State& state, const std::uint8_t* bytes, std::size_t count) {
    for (; count > 0; --count, bytes += kBlock) {
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
        auto [a, b, c, d, e, f, g, h] = state;
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
            state[at] += added[at];
        }
    }
}

Sha256Blocks* fastest_sha256_blocks() {
    static Sha256Blocks* const found = has_instructions() ? blocks_by_instructions : sha256_blocks_plain;
    return found;
}

}  // namespace clsclip
