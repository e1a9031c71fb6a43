/// Class words as people type them, made clean, and the prompts of classes that have several.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// Classes that are asked, clean.
struct Asked {
    std::vector<std::string> classes;               ///< (K) their names, each once, in the order asked
    std::vector<std::vector<std::string>> prompts;  ///< (K) the words that each is searched by, each once
    std::vector<std::string> notes;  ///< for the user: words that were changed, dropped or may be meant otherwise

    /// The prompts of all classes, one class after the other.
    [[nodiscard]] std::vector<std::string> words() const;
    /// Of every one of these, the position of its class.
    [[nodiscard]] std::vector<std::size_t> classes_of_words() const;
};

/// The prompts of classes that have others than their own name.
using Prompts = std::map<std::string, std::vector<std::string>, std::less<>>;

/// Clean all words; a class that comes again (same letters and case) is kept once.
///
/// WordError: none is given, a class has no prompt, or a word is not usable. OptionError: there are prompts of a class that
/// is not asked.
[[nodiscard]] Asked clean_classes(std::span<const std::string> classes, const Prompts& prompts = {});

}  // namespace clsclip
