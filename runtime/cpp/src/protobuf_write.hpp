/// Protobuf's fields, written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace clsclip {

inline void put_number(std::string& out, std::uint64_t value) {
    while (value > 0x7F) {
        out += static_cast<char>(value | 0x80U);
        value >>= 7;
    }
    out += static_cast<char>(value);
}

/// A field that holds bytes, a text or a message.
inline void put_field(std::string& out, std::uint32_t number, std::string_view content) {
    put_number(out, number << 3U | 2U);
    put_number(out, content.size());
    out += content;
}

}  // namespace clsclip
