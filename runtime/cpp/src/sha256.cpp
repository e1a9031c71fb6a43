#include "sha256.hpp"

#include <algorithm>

namespace clsclip {

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
        blocks_(state_, waiting_.data(), 1);
        waiting_size_ = 0;
    }
    const std::size_t count = bytes.size() / waiting_.size();
    blocks_(state_, bytes.data(), count);
    bytes = bytes.subspan(count * waiting_.size());
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

}  // namespace clsclip
