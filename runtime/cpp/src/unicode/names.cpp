#include "unicode/names.hpp"

#include <algorithm>
#include <optional>

#include "unicode/unicode.hpp"

namespace clsclip {

std::string shown(std::string_view text) {
    std::string all = "'";
    for (const char one : text) {
        const auto byte = static_cast<unsigned char>(one);
        if (byte >= 0x20 && byte < 0x7F) {
            all += one;
        } else {
            all += "\\x";
            all += "0123456789abcdef"[byte >> 4];
            all += "0123456789abcdef"[byte & 15];
        }
        if (all.size() > 47) {
            return all.substr(0, 45) + "...";
        }
    }
    return all + "'";
}

bool is_blank(std::string_view text) {
    const std::optional<std::u32string> characters = decode_utf8(text);
    return characters && std::all_of(characters->begin(), characters->end(), is_space);
}

bool is_name(std::string_view text, std::size_t most_characters) {
    const std::optional<std::u32string> characters = decode_utf8(text);
    return characters && !is_blank(text) && characters->size() <= most_characters &&
           std::none_of(characters->begin(), characters->end(), [](char32_t one) {
               return one < 0x20 || (one >= 0x7F && one <= 0x9F) || one == 0x2028 || one == 0x2029;
           });
}

}  // namespace clsclip
