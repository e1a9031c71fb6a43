/// UTF-8 of names, which may hold any bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace clsclip::tool {

/// What stands for a byte that begins no character.
inline constexpr char32_t kNoCharacter = 0xFFFFFFFF;

/// The first character of a text that is not empty, and its bytes; kNoCharacter and 1 where there is none.
[[nodiscard]] inline std::pair<char32_t, std::size_t> first_character(std::string_view text) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned char first = byte(0);
    if (first < 0x80) {
        return {first, 1};
    }
    const std::size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || text.size() < bytes) {
        return {kNoCharacter, 1};
    }
    char32_t code = first & (0xFF >> (bytes + 1));
    for (std::size_t at = 1; at < bytes; ++at) {
        if ((byte(at) & 0xC0) != 0x80) {
            return {kNoCharacter, 1};
        }
        code = code << 6 | (byte(at) & 0x3F);
    }
    const bool shortest = code >= (bytes == 2 ? 0x80U : bytes == 3 ? 0x800U : 0x10000U);
    if (!shortest || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
        return {kNoCharacter, 1};
    }
    return {code, bytes};
}

/// The longest beginning of at most so many bytes that does not end within a character.
[[nodiscard]] inline std::string_view cut_bytes(std::string_view text, std::size_t most) {
    std::size_t taken = 0;
    while (taken < text.size()) {
        const std::size_t next = taken + first_character(text.substr(taken)).second;
        if (next > most) {
            break;
        }
        taken = next;
    }
    return text.substr(0, taken);
}

}  // namespace clsclip::tool
