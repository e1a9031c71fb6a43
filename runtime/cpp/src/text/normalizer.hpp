/// The normalisation of a tokenizer: steps that change a text as a whole.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace clsclip {

/// One step.
struct NormalizerStep {
    enum class Kind {
        nfc,
        lower,
        replace_spaces,  ///< every run of white space by `content`
        replace_text,    ///< every `pattern` by `content`
    };
    Kind kind = Kind::nfc;
    std::u32string pattern;
    std::u32string content;
};

using Normalizer = std::vector<NormalizerStep>;

/// BundleError when a text has grown beyond 16 million characters: hostile steps, each adding some, would fill the memory.
void check_grown(std::size_t characters);

/// The text after all steps.
[[nodiscard]] std::u32string normalize(const Normalizer& normalizer, std::u32string_view text);

}  // namespace clsclip
