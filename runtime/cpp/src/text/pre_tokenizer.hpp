/// Splitting a text into the words that are encoded each by itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace clsclip {

/// CLIP's pattern of words, as tokenizer.json writes it.
inline constexpr std::string_view kClipPattern = R"('s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

/// One step.
struct PreTokenizerStep {
    enum class Kind {
        clip_words,  ///< the matches of kClipPattern; what lies between them is left out
        byte_level,  ///< bytes of UTF-8 as visible characters, after GPT-2's pattern of words if `split`
    };
    Kind kind = Kind::clip_words;
    bool add_prefix_space = false;  ///< texts that do not begin with a space get one
    bool split = false;
};

using PreTokenizer = std::vector<PreTokenizerStep>;

/// The words of a text, none of them empty.
[[nodiscard]] std::vector<std::u32string> pre_tokenize(const PreTokenizer& pre_tokenizer, std::u32string text);

}  // namespace clsclip
