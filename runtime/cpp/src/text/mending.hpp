/// What keyboards, web pages and wrong encodings do to words, undone as CLIP's own tokenizer undoes it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace clsclip {

/// A text as it was meant, and what was wrong with it: "HTML entity", "curly quote", ...
struct Mended {
    std::u32string text;
    std::vector<std::string_view> what;
};

/// Mend a text, as the Python runtime does: entities, wrong encodings, ligatures, full-width letters, curly quotes,
/// invisible marks, underscores; the result is in Unicode NFC. Mending again changes nothing.
[[nodiscard]] Mended mend(std::u32string text);

/// The text with every capital sigma that ends a word in its final small form: tokenizers make capitals small letter by
/// letter, which loses it.
[[nodiscard]] std::string with_final_sigmas(std::string_view text);

}  // namespace clsclip
