/// From asked words to the classes that a source of boxes knows.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace clsclip {

/// Cosine from which the nearest class name counts as the same thing; measured, see the Python runtime.
inline constexpr float kNearest = 0.94F;

/// What a source of boxes knows of one word.
struct NameMatch {
    std::vector<int> classes;  ///< those that the word means, by number; none if `how` is "none"
    std::string how;           ///< "exact" (but for case and spaces), "plural" (or singular), "synonym", "nearest", "none"
    std::optional<float> similarity;  ///< cosine of the nearest class name, where one was looked for
};

/// K words to their text features (K, f) of unit norm, row by row.
using EncodeWords = std::function<std::vector<float>(std::span<const std::string> words)>;

/// The classes of every word; the first rule that finds one decides: exact, then singular and plural, then synonyms,
/// then the class name with the nearest text feature.
///
/// `encode` is called only if a word needs it; empty leaves the last rule out. Names that `knows` denies are left out of
/// it; empty is all. All texts are UTF-8.
///
/// OptionError: a text is not UTF-8, the threshold is not from -1 to 1, or `encode` gave another number of values.
[[nodiscard]] std::vector<NameMatch> match_words(std::span<const std::string> words,
                                                  std::span<const std::string> names, const EncodeWords& encode,
                                                  const std::function<bool(const std::string&)>& knows = {},
                                                  float threshold = kNearest);

/// What several spellings of one thing match together; `how` is that of the surest of them.
[[nodiscard]] NameMatch joined_match(std::span<const NameMatch> matches);

/// Whether a detector with these class names knows no classes: it has one, called "thing" or the like.
[[nodiscard]] bool is_class_agnostic(std::span<const std::string> names);

}  // namespace clsclip
