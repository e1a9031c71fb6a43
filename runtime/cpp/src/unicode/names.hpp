/// Questions about names and texts that come from outside.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace clsclip {

/// Whether a UTF-8 text is empty or white space alone.
[[nodiscard]] bool is_blank(std::string_view text);

/// Whether a text can name something: it is UTF-8, not blank, without control characters and line breaks, and has at most
/// so many characters.
[[nodiscard]] bool is_name(std::string_view text, std::size_t most_characters);

/// A text for messages: short, in quotes, with everything but ASCII escaped.
[[nodiscard]] std::string shown(std::string_view text);

}  // namespace clsclip
