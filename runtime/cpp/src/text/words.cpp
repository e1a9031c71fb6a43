#include "text/words.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "errors.hpp"
#include "unicode/names.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

constexpr std::size_t kMostCharacters = 256;

/// First and last character of a run.
struct Run {
    char32_t first, last;
};

/// Format characters (category Cf) of Unicode 15: they cannot be seen.
constexpr std::array<Run, 21> kFormat{{{0xAD, 0xAD},       {0x600, 0x605},     {0x61C, 0x61C},     {0x6DD, 0x6DD},
                                       {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},     {0x180E, 0x180E},
                                       {0x200B, 0x200F},   {0x202A, 0x202E},   {0x2060, 0x2064},   {0x2066, 0x206F},
                                       {0xFEFF, 0xFEFF},   {0xFFF9, 0xFFFB},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD},
                                       {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0001, 0xE0001},
                                       {0xE0020, 0xE007F}}};

template <std::size_t Count>
bool is_in(const std::array<Run, Count>& runs, char32_t one) {
    return std::any_of(runs.begin(), runs.end(), [one](Run run) { return run.first <= one && one <= run.last; });
}

bool is_control(char32_t one) { return one < 0x20 || (one >= 0x7F && one <= 0x9F); }

/// White space at both ends gone, runs of it inside made one space.
std::u32string one_spaced(const std::u32string& text) {
    std::u32string clean;
    for (const char32_t one : text) {
        if (!is_space(one)) {
            clean += one;
        } else if (!clean.empty() && clean.back() != U' ') {
            clean += U' ';
        }
    }
    if (!clean.empty() && clean.back() == U' ') {
        clean.pop_back();
    }
    return clean;
}

}  // namespace

std::string clean_word(std::string_view word) {
    const std::optional<std::u32string> characters = decode_utf8(word);
    if (!characters) {
        fail<WordError>("the class ", shown(word), " is not UTF-8. Convert it first");
    }
    for (const char32_t one : *characters) {
        if (is_control(one) && !(one >= 9 && one <= 13)) {
            fail<WordError>("the class ", shown(word), " has a control character (number ",
                            static_cast<std::uint32_t>(one), "). Remove it");
        }
    }
    const std::u32string clean = one_spaced(nfc(*characters));
    if (clean.size() > kMostCharacters) {
        fail<WordError>("the class ", shown(word), " has ", clean.size(), " characters, and the limit is ",
                        kMostCharacters, ". A class is a word or a short phrase: shorten it, or give several classes");
    }
    // Joiners and other format characters alone cannot be seen: to the reader that word is empty.
    if (std::all_of(clean.begin(), clean.end(), [](char32_t one) { return is_in(kFormat, one) || is_space(one); })) {
        fail<WordError>("a class word is empty. Remove it, or write a word such as 'dog'");
    }
    return encode_utf8(clean);
}

CleanWords clean_words(std::span<const std::string> words) {
    if (words.empty()) {
        fail<WordError>("no class was given. Give at least one word, for example {\"dog\"}");
    }
    CleanWords all;
    std::unordered_map<std::string, int> times;
    for (const std::string& word : words) {
        std::string clean = clean_word(word);
        if (++times[clean] == 1) {
            all.words.push_back(std::move(clean));
        }
    }
    for (const std::string& word : all.words) {
        if (const int count = times[word]; count > 1) {
            all.notes.push_back(text_of("'", word, "' was asked ", count, " times and is reported once"));
        }
    }
    return all;
}

}  // namespace clsclip
