/// What the runtime must know of Unicode: UTF-8, normal form C, letter case, and kinds of characters.
///
/// Results are those of the Python runtime: of its tokenizers library for `nfc`, `to_lower` and `kind_of`, and of Python
/// itself for `casefold` and `is_invisible`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace clsclip {

/// The characters of a UTF-8 text; none if it is not valid (surrogates and overlong forms are not).
[[nodiscard]] std::optional<std::u32string> decode_utf8(std::string_view text);

/// Characters as UTF-8; what is no character of Unicode becomes U+FFFD.
[[nodiscard]] std::string encode_utf8(std::u32string_view text);

/// Append one character as UTF-8.
void append_utf8(std::string& text, char32_t character);

/// Unicode normal form C.
[[nodiscard]] std::u32string nfc(std::u32string_view text);

/// Lower case, every character by itself.
[[nodiscard]] std::u32string to_lower(std::u32string_view text);

/// Without the difference of upper and lower case, for comparing.
[[nodiscard]] std::u32string casefold(std::u32string_view text);

/// What regular expressions call \s, \p{L} and \p{N}.
enum class CharacterKind { other, space, letter, number };

[[nodiscard]] CharacterKind kind_of(char32_t character) noexcept;

/// What Python's str.split() takes for white space: \s and four separators of ASCII.
[[nodiscard]] bool is_space(char32_t character) noexcept;

/// Whether a character has no shape of its own: a control, format, private, unassigned or white space character.
[[nodiscard]] bool is_invisible(char32_t character) noexcept;

}  // namespace clsclip
