#include "backends/numbers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "catch.hpp"
#include "graph.hpp"
#include "limits.hpp"
#include "sha256.hpp"

using namespace clsclip;

namespace {

std::string sha256(const std::string& text, Sha256Blocks* blocks = fastest_sha256_blocks()) {
    Sha256 digest(blocks);
    digest.update({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    return digest.hex();
}

}  // namespace

TEST_CASE("SHA-256 gives the digests of its standard") {
    CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 does not depend on how the bytes come") {
    const std::string text(200, 'x');
    for (std::size_t step = 1; step < 130; ++step) {
        Sha256 digest;
        for (std::size_t at = 0; at < text.size(); at += step) {
            const auto part = text.substr(at, step);
            digest.update({reinterpret_cast<const std::uint8_t*>(part.data()), part.size()});
        }
        CHECK(digest.hex() == sha256(text));
    }
}

TEST_CASE("SHA-256 by the processor's own instructions is the plain one") {
    std::mt19937 random(5);
    for (std::size_t size = 0; size < 700; ++size) {
        std::string text(size, ' ');
        std::generate(text.begin(), text.end(), [&] { return static_cast<char>(random()); });
        CHECK(sha256(text) == sha256(text, sha256_blocks_plain));
    }
}

TEST_CASE("Every half becomes a float and the same half again") {
    for (unsigned bits = 0; bits < 0x10000; ++bits) {
        Half half;
        half.bits = static_cast<std::uint16_t>(bits);
        const auto value = static_cast<float>(half);
        if (std::isnan(value)) {
            CHECK(std::isnan(static_cast<float>(Half(value))));
        } else if (Half(value).bits != bits) {
            FAIL("half " << bits << " came back as " << Half(value).bits);
        }
    }
}

TEST_CASE("Floats round to the nearest half, ties to even") {
    CHECK(Half(1.0F).bits == 0x3C00);
    CHECK(Half(-2.0F).bits == 0xC000);
    CHECK(Half(65504.0F).bits == 0x7BFF);
    CHECK(Half(65520.0F).bits == 0x7C00);  // halfway to what would be 65536
    CHECK(Half(65519.0F).bits == 0x7BFF);
    CHECK(Half(1.0F + 0x1p-11F).bits == 0x3C00);
    CHECK(Half(1.0F + 3 * 0x1p-11F).bits == 0x3C02);
    CHECK(Half(0x1p-24F).bits == 1);
    CHECK(Half(0x1p-25F).bits == 0);
    CHECK(Half(0x1.8p-25F).bits == 1);
    CHECK(Half(1e30F).bits == 0x7C00);
    CHECK(static_cast<float>(Half(std::numeric_limits<float>::infinity())) == std::numeric_limits<float>::infinity());
}

TEST_CASE("NaN and infinity are found anywhere") {
    std::vector<float> values(100, 1.0F);
    CHECK(all_finite(values));
    for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()}) {
        values[57] = wrong;
        CHECK_FALSE(all_finite(values));
    }
}

TEST_CASE("Memory bounds calls, and one pair always fits") {
    CHECK(fitting(1024, std::uint64_t{1} << 30) == 1);
    CHECK(fitting(1, std::uint64_t{1} << 30) == 1);
    CHECK(fitting(1024, 1 << 20) == 1024);
    CHECK(fitting(1024, 0) == std::size_t{1024} << 20);
    CHECK(per_call({.memory_mb = 1024, .pairs_per_call = 7}, 1 << 20) == 7);
    CHECK(per_call({.memory_mb = 4, .pairs_per_call = 7}, 1 << 20) == 4);
    CHECK(pairs_per_call({.memory_mb = 1024}, 1 << 20, 0) == 1024);
    CHECK(pairs_per_call({.memory_mb = 1024}, 1 << 20, 128) == 128);
    CHECK(pairs_per_call({.memory_mb = 64}, 1 << 20, 128) == 64);
    CHECK(pairs_per_call({.memory_mb = 1024}, 20 << 20, 128) == 16);
    CHECK(pairs_per_call({.memory_mb = 1024}, std::uint64_t{1} << 30, 128) == 1);
    CHECK(pairs_per_call({.memory_mb = 1024, .pairs_per_call = 700}, 1 << 20, 128) == 700);
    CHECK(words_per_call(1 << 20, 1 << 20, 1) == 256);
    CHECK(words_per_call(1 << 20, 1 << 20, 300) == 1);
    CHECK(words_per_call(10, 1 << 20, 2) == 5);
}
