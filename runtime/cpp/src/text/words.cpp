#include "text/words.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <optional>
#include <unordered_map>

#include "errors.hpp"
#include "text/mending.hpp"
#include "unicode/names.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

constexpr std::size_t kMostCharacters = 256;

/// Before mending: entities and wrong encodings take several characters for one.
constexpr std::size_t kMostTyped = 16 * kMostCharacters;

/// Most changes that have a note each.
constexpr std::size_t kShownChanges = 5;

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

/// A clean word, and what was wrong with it.
struct CleanWord {
    std::string word;
    std::vector<std::string_view> what;
};

[[noreturn]] void fail_too_long(std::string_view word, std::size_t characters) {
    fail<WordError>("the class ", shown(word), " has ", characters, " characters, and the limit is ", kMostCharacters,
                    ". A class is a word or a short phrase: shorten it, or give several classes");
}

[[noreturn]] void fail_control(std::string_view word, char32_t one) {
    fail<WordError>("the class ", shown(word), " has a control character (number ", static_cast<std::uint32_t>(one),
                    "). Remove it");
}

bool is_bad_control(char32_t one) { return is_control(one) && !(one >= 9 && one <= 13); }

/// The characters of a word before it is mended.
std::u32string characters_of(std::string_view word) {
    const std::optional<std::u32string> characters = decode_utf8(word);
    if (!characters) {
        fail<WordError>("the class ", shown(word), " is not UTF-8. Convert it first");
    }
    if (characters->size() > kMostTyped) {
        fail_too_long(word, characters->size());
    }
    for (const char32_t one : *characters) {
        // Characters from 128 on may be halves of letters in a wrong encoding, and are looked at once it is mended.
        if (one < 0x80 && is_bad_control(one)) {
            fail_control(word, one);
        }
    }
    return *characters;
}

/// A text without control characters, its spaces made one, if it can be a word.
std::string checked(std::string_view word, const std::u32string& text) {
    for (const char32_t one : text) {
        if (is_bad_control(one)) {
            fail_control(word, one);
        }
    }
    const std::u32string clean = one_spaced(nfc(text));
    if (clean.size() > kMostCharacters) {
        fail_too_long(word, clean.size());
    }
    // Joiners and other format characters alone cannot be seen: to the reader that word is empty.
    if (std::all_of(clean.begin(), clean.end(), [](char32_t one) { return is_in(kFormat, one) || is_space(one); })) {
        fail<WordError>("a class word is empty. Remove it, or write a word such as 'dog'");
    }
    return encode_utf8(clean);
}

CleanWord cleaned(std::string_view word) {
    Mended mended = mend(characters_of(word));
    return {checked(word, mended.text), std::move(mended.what)};
}

/// The name of a class that is not searched itself: as it is written, but for spaces and Unicode's form.
std::string label_of(std::string_view name) { return checked(name, characters_of(name)); }

template <class Value>
bool holds(const std::vector<Value>& values, const Value& one) {
    return std::find(values.begin(), values.end(), one) != values.end();
}

/// What is noted while classes are cleaned.
struct Notes {
    std::vector<std::string> changed, doubtful, joined;
    std::unordered_map<std::string, int> times;

    void of_word(std::string_view typed, const CleanWord& clean) {
        if (!clean.what.empty()) {
            const std::string spaced = encode_utf8(one_spaced(nfc(*decode_utf8(typed))));
            std::string note = text_of("'", spaced, "' was read as '", clean.word, "' (", joined_texts(clean.what), ")");
            if (!holds(changed, note)) {
                changed.push_back(std::move(note));
            }
        }
        if (clean.word.find_first_of(",|") != std::string::npos && !holds(doubtful, clean.word)) {
            doubtful.push_back(clean.word);
        }
    }

    [[nodiscard]] std::vector<std::string> all(const std::vector<std::string>& classes) const {
        std::vector<std::string> told = changed;
        if (told.size() > kShownChanges) {
            const std::string digits = std::to_string(told.size());
            std::string count;
            for (std::size_t at = 0; at < digits.size(); ++at) {
                if (at > 0 && (digits.size() - at) % 3 == 0) {
                    count += ',';
                }
                count += digits[at];
            }
            told = {text_of(count, " words were changed as they were read, such as ", told[0], ", ", told[1])};
        }
        for (const std::string& word : doubtful) {
            told.push_back(text_of("'", word, "' was taken as one word; several classes are several words"));
        }
        for (const std::string& word : joined) {
            told.push_back(text_of("'", word, "' was given several times, and its prompts were joined"));
        }
        for (const std::string& word : classes) {
            if (const int count = times.at(word); count > 1 && !holds(joined, word)) {
                told.push_back(text_of("'", word, "' was asked ", count, " times and is reported once"));
            }
        }
        return told;
    }

private:
    static std::string joined_texts(const std::vector<std::string_view>& texts) { return clsclip::joined(texts); }
};

bool same_words(std::vector<std::string> one, std::vector<std::string> other) {
    std::sort(one.begin(), one.end());
    std::sort(other.begin(), other.end());
    return one == other;
}

}  // namespace

std::vector<std::string> Asked::words() const {
    std::vector<std::string> all;
    for (const auto& own : prompts) {
        all.insert(all.end(), own.begin(), own.end());
    }
    return all;
}

std::vector<std::size_t> Asked::classes_of_words() const {
    std::vector<std::size_t> all;
    for (std::size_t at = 0; at < prompts.size(); ++at) {
        all.insert(all.end(), prompts[at].size(), at);
    }
    return all;
}

std::string clean_word(std::string_view word) { return cleaned(word).word; }

Asked clean_classes(std::span<const std::string> classes, const Prompts& prompts) {
    if (classes.empty()) {
        fail<WordError>("no class was given. Give at least one word, for example {\"dog\"}");
    }
    for (const auto& [name, words] : prompts) {
        if (std::find(classes.begin(), classes.end(), name) == classes.end()) {
            fail<OptionError>("there are prompts of the class ", shown(name), ", which is not asked. Ask it, or leave them out");
        }
        if (words.empty()) {
            fail<WordError>("the class ", shown(name), " has no prompt. Give at least one word");
        }
    }
    Asked asked;
    Notes notes;
    std::unordered_map<std::string, std::size_t> places;
    for (const std::string& name : classes) {
        const auto given = prompts.find(name);
        std::vector<std::string> words;
        for (const std::string& typed : given == prompts.end() ? std::vector<std::string>{name} : given->second) {
            CleanWord clean = cleaned(typed);
            notes.of_word(typed, clean);
            if (!holds(words, clean.word)) {
                words.push_back(std::move(clean.word));
            }
        }
        const std::string label = given == prompts.end() ? words.front() : label_of(name);
        const auto [place, is_new] = places.try_emplace(label, asked.classes.size());
        if (is_new) {
            asked.classes.push_back(label);
            asked.prompts.push_back(words);
        } else if (std::vector<std::string>& own = asked.prompts[place->second]; !same_words(own, words)) {
            if (!holds(notes.joined, label)) {
                notes.joined.push_back(label);
            }
            std::copy_if(words.begin(), words.end(), std::back_inserter(own),
                         [&own](const std::string& word) { return !holds(own, word); });
        }
        ++notes.times[label];
    }
    asked.notes = notes.all(asked.classes);
    return asked;
}

}  // namespace clsclip
