#include "text/pre_tokenizer.hpp"

#include <algorithm>
#include <array>

#include "errors.hpp"
#include "text/normalizer.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

using Words = std::vector<std::u32string>;

/// Length of a contraction such as 's or 're at the beginning; 0 if there is none.
std::size_t contraction(std::u32string_view text) {
    constexpr std::array<std::u32string_view, 7> known{U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"};
    for (const std::u32string_view one : known) {
        if (text.starts_with(one)) {
            return one.size();
        }
    }
    return 0;
}

/// Characters of one kind at the beginning, after `skipped` others.
std::size_t run(std::u32string_view text, CharacterKind kind, std::size_t skipped = 0) {
    const auto end = std::find_if(text.begin() + static_cast<std::ptrdiff_t>(skipped), text.end(),
                                  [kind](char32_t one) { return kind_of(one) != kind; });
    return static_cast<std::size_t>(end - text.begin()) - skipped;
}

/// kClipPattern: contractions, letters, single numbers, others.
void split_clip(std::u32string_view text, Words& words) {
    while (!text.empty()) {
        const CharacterKind kind = kind_of(text.front());
        std::size_t length = contraction(text);
        if (length == 0) {
            length = kind == CharacterKind::number ? 1 : run(text, kind);
        }
        if (kind != CharacterKind::space) {
            words.emplace_back(text.substr(0, length));
        }
        text.remove_prefix(length);
    }
}

/// Length of the first match of GPT-2's pattern, which leaves nothing out:
/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t gpt2_word(std::u32string_view text) {
    if (const std::size_t length = contraction(text); length != 0) {
        return length;
    }
    const std::size_t space = text.front() == U' ' ? 1 : 0;
    if (space < text.size()) {
        const CharacterKind kind = kind_of(text[space]);
        if (kind != CharacterKind::space) {
            return space + run(text, kind, space);
        }
    }
    // The last space before a word belongs to the word, or stands alone.
    const std::size_t spaces = run(text, CharacterKind::space);
    return spaces < text.size() && spaces > 1 ? spaces - 1 : spaces;
}

void split_gpt2(std::u32string_view text, Words& words) {
    while (!text.empty()) {
        const std::size_t length = gpt2_word(text);
        words.emplace_back(text.substr(0, length));
        text.remove_prefix(length);
    }
}

/// The characters that stand for bytes: themselves where they can be seen, else those from U+0100 on in their order.
std::array<char32_t, 256> byte_characters() {
    std::array<char32_t, 256> characters{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
        const bool visible = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        characters[byte] = visible ? byte : next++;
    }
    return characters;
}

std::u32string as_bytes(std::u32string_view word) {
    static const std::array<char32_t, 256> characters = byte_characters();
    std::u32string out;
    for (const char byte : encode_utf8(word)) {
        out += characters[static_cast<unsigned char>(byte)];
    }
    return out;
}

Words after(const PreTokenizerStep& step, std::u32string text) {
    Words words;
    if (step.kind == PreTokenizerStep::Kind::clip_words) {
        split_clip(text, words);
        return words;
    }
    if (step.add_prefix_space && !text.empty() && text.front() != U' ') {
        text.insert(text.begin(), U' ');
    }
    if (step.split) {
        split_gpt2(text, words);
    } else if (!text.empty()) {
        words.push_back(std::move(text));
    }
    std::transform(words.begin(), words.end(), words.begin(), as_bytes);
    return words;
}

}  // namespace

std::vector<std::u32string> pre_tokenize(const PreTokenizer& pre_tokenizer, std::u32string text) {
    Words words;
    if (!text.empty()) {
        words.push_back(std::move(text));
    }
    for (const PreTokenizerStep& step : pre_tokenizer) {
        Words split;
        std::size_t characters = 0;
        for (std::u32string& word : words) {
            Words own = after(step, std::move(word));
            for (const std::u32string& one : own) {
                characters += one.size();
            }
            check_grown(characters);
            split.insert(split.end(), std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
        }
        words = std::move(split);
    }
    return words;
}

}  // namespace clsclip
