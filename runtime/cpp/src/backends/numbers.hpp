/// Copying numbers between the types that graphs use.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace clsclip {

template <class From, class To>
void copy_as(const void* from, std::size_t count, To* to) {
    const auto* values = static_cast<const From*>(from);
    std::transform(values, values + count, to, [](From one) { return static_cast<To>(one); });
}

/// An IEEE half as it lies in memory, for backends that bring no type of their own.
struct Half {
    std::uint16_t bits = 0;

    Half() = default;

    /// Rounded to the nearest, ties to even.
    explicit Half(float value) {
        const auto word = std::bit_cast<std::uint32_t>(value);
        const std::uint32_t sign = word >> 16 & 0x8000U, exponent = word >> 23 & 0xFFU, fraction = word & 0x7FFFFFU;
        if (exponent == 0xFF) {
            bits = static_cast<std::uint16_t>(sign | 0x7C00U | (fraction != 0 ? 0x200U : 0U));
        } else if (exponent >= 143) {
            bits = static_cast<std::uint16_t>(sign | 0x7C00U);
        } else if (exponent >= 113) {
            const std::uint32_t kept = (exponent - 112) << 10 | fraction >> 13;
            bits = static_cast<std::uint16_t>(sign | (kept + rounds_up(fraction, 13, kept)));
        } else if (exponent >= 102) {
            const std::uint32_t whole = fraction | 0x800000U, shift = 126 - exponent;
            const std::uint32_t kept = whole >> shift;
            bits = static_cast<std::uint16_t>(sign | (kept + rounds_up(whole, shift, kept)));
        } else {
            bits = static_cast<std::uint16_t>(sign);
        }
    }

    explicit operator float() const {
        const std::uint32_t sign = std::uint32_t{bits & 0x8000U} << 16, exponent = bits >> 10 & 0x1FU;
        const std::uint32_t fraction = bits & 0x3FFU;
        if (exponent == 0) {
            const float value = static_cast<float>(fraction) * 0x1p-24F;
            return sign != 0 ? -value : value;
        }
        const std::uint32_t wide = exponent == 0x1F ? 0xFFU : exponent + 112;
        return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
    }

private:
    static std::uint32_t rounds_up(std::uint32_t value, std::uint32_t dropped, std::uint32_t kept) {
        const std::uint32_t half = 1U << (dropped - 1), rest = value & ((1U << dropped) - 1);
        return rest > half || (rest == half && (kept & 1U) != 0) ? 1 : 0;
    }
};

}  // namespace clsclip
