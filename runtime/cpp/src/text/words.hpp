/// Class words as people type them, made clean; the few questions about Unicode that the runtime asks itself.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace clsclip {

/// The words in the order asked, each once, and notes for the user about words that were dropped.
struct CleanWords {
    std::vector<std::string> words;
    std::vector<std::string> notes;
};

/// One class word: Unicode NFC, stripped, runs of white space made one space.
///
/// WordError: it is not UTF-8, is empty, has control characters, or is over 256 characters long.
[[nodiscard]] std::string clean_word(std::string_view word);

/// Clean all words; one that comes again (same letters and case) is kept once. WordError: none is given, or one is not
/// usable.
[[nodiscard]] CleanWords clean_words(std::span<const std::string> words);

/// Whether a UTF-8 text is empty or white space alone.
[[nodiscard]] bool is_blank(std::string_view text);

/// Whether a UTF-8 text is not blank, has no invisible characters but spaces, and at most so many characters.
[[nodiscard]] bool is_printable_name(std::string_view text, std::size_t most_characters);

/// A text for messages: short, in quotes, with everything but ASCII escaped.
[[nodiscard]] std::string shown(std::string_view text);

}  // namespace clsclip
