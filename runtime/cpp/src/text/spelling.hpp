/// How words for one thing are spelt: plurals, synonyms, and what data sets write.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace clsclip {

/// Lower case, one space between words; data sets also join words with _ and -.
[[nodiscard]] std::u32string plain(std::u32string_view word);

/// Without spaces: VOC writes diningtable.
[[nodiscard]] std::u32string without_spaces(std::u32string_view word);

/// The word and everything that it could be the plural of. Wrong guesses ("bu" for "bus") do no harm: they only count
/// where they are the other word.
[[nodiscard]] std::vector<std::u32string> singulars(const std::u32string& word);

/// The spellings that a class name offers, each plain and once: Objects365 has "Monitor/TV", LVIS
/// "mouse_(computer_equipment)".
[[nodiscard]] std::vector<std::u32string> alternatives(std::u32string_view name);

/// The things that a plain word, or its singular, is a name of.
[[nodiscard]] std::vector<std::u32string_view> things(const std::u32string& word);

/// Whether a plain word is what the only class of a detector that knows no classes is called.
[[nodiscard]] bool means_anything(const std::u32string& word);

}  // namespace clsclip
