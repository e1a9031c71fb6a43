/// Class words as people type them, made clean.
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

}  // namespace clsclip
