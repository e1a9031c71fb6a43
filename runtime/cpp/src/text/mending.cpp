#include "text/mending.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "unicode/tables_entities.hpp"
#include "unicode/tables_words.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

using Text = std::u32string_view;

constexpr char32_t kNotACharacter = 0xFFFD;
constexpr std::size_t kMostNameCharacters = 32;

/// What Windows-1252 shows for the bytes 0x80 to 0x9F; 0 where it has nothing.
constexpr std::array<char32_t, 32> kWindows1252{
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017D, 0,
    0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0, 0x017E, 0x0178};

bool is_digit(char32_t one) { return one >= U'0' && one <= U'9'; }

int hexadecimal(char32_t one) {
    if (is_digit(one)) {
        return static_cast<int>(one - U'0');
    }
    const char32_t small = one | 0x20;
    return small >= U'a' && small <= U'f' ? static_cast<int>(small - U'a') + 10 : -1;
}

/// The character of a number in HTML; nothing for numbers that are left out.
std::u32string numbered(std::uint32_t code) {
    if (code == 0) {
        return {kNotACharacter};
    }
    if (code >= 0x80 && code <= 0x9F) {
        const char32_t shown = kWindows1252[code - 0x80];
        return {shown == 0 ? static_cast<char32_t>(code) : shown};
    }
    if (code == 0x0D) {
        return {U'\r'};
    }
    if ((code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) {
        return {kNotACharacter};
    }
    const bool invalid = code <= 8 || code == 0xB || (code >= 0xE && code <= 0x1F) || code == 0x7F ||
                         (code >= 0xFDD0 && code <= 0xFDEF) || (code & 0xFFFE) == 0xFFFE;
    return invalid ? std::u32string{} : std::u32string{static_cast<char32_t>(code)};
}

/// What a name of HTML stands for; null where there is no such name.
const unicode::Entity* entity_of(std::string_view name) {
    const auto& all = unicode::entities;
    const auto found = std::lower_bound(all.begin(), all.end(), name, [](const unicode::Entity& one, std::string_view other) {
        return std::string_view(one.name) < other;
    });
    return found != all.end() && found->name == name ? &*found : nullptr;
}

/// A name behind `&`, as far as it is one: the longest that HTML has, and what follows it.
std::u32string named(Text name) {
    std::string bytes;
    for (const char32_t one : name) {
        bytes += one < 0x80 ? static_cast<char>(one) : '\0';
    }
    for (std::size_t length = bytes.size(); length > 1; --length) {
        if (const auto* entity = entity_of(std::string_view(bytes).substr(0, length))) {
            std::u32string made{static_cast<char32_t>(entity->first)};
            if (entity->second != 0) {
                made += static_cast<char32_t>(entity->second);
            }
            return made.append(name.substr(length));
        }
    }
    std::u32string whole(1, U'&');
    return whole.append(name);
}

/// HTML's entities replaced, as html.unescape of Python does.
std::u32string unescaped(Text text) {
    std::u32string out;
    for (std::size_t at = 0; at < text.size();) {
        if (text[at] != U'&') {
            out += text[at++];
            continue;
        }
        std::size_t end = at + 1;
        if (end < text.size() && text[end] == U'#') {
            const bool hex = end + 1 < text.size() && (text[end + 1] == U'x' || text[end + 1] == U'X');
            end += hex ? 2 : 1;
            const std::size_t first = end;
            std::uint64_t code = 0;
            while (end < text.size() && (hex ? hexadecimal(text[end]) >= 0 : is_digit(text[end]))) {
                code = std::min<std::uint64_t>(code * (hex ? 16 : 10) + static_cast<std::uint64_t>(hexadecimal(text[end])), 0x110000);
                ++end;
            }
            if (end == first) {
                out += text[at++];
                continue;
            }
            end += end < text.size() && text[end] == U';' ? 1 : 0;
            out += numbered(static_cast<std::uint32_t>(code));
            at = end;
            continue;
        }
        while (end < text.size() && end - at <= kMostNameCharacters && Text(U"\t\n\f <&#;").find(text[end]) == Text::npos) {
            ++end;
        }
        if (end == at + 1) {
            out += text[at++];
            continue;
        }
        end += end < text.size() && text[end] == U';' ? 1 : 0;
        out += named(text.substr(at + 1, end - at - 1));
        at = end;
    }
    return out;
}

/// A text that is UTF-8 read as Latin-1 or Windows-1252, read as UTF-8; any other as it is.
std::u32string decoded_again(Text text) {
    std::string bytes;
    bool latin = true;
    for (const char32_t one : text) {
        if (one < 0x100) {
            bytes += static_cast<char>(static_cast<unsigned char>(one));
            continue;
        }
        latin = false;
        const auto byte = std::find(kWindows1252.begin(), kWindows1252.end(), one);
        if (byte == kWindows1252.end()) {
            return std::u32string(text);
        }
        bytes += static_cast<char>(static_cast<unsigned char>(0x80 + (byte - kWindows1252.begin())));
    }
    const std::optional<std::u32string> read = decode_utf8(bytes);
    if (!read) {
        return std::u32string(text);
    }
    std::u32string codes;
    std::copy_if(read->begin(), read->end(), std::back_inserter(codes), [](char32_t one) { return one >= 0x80; });
    const auto any = [&](auto&& rule) { return std::any_of(codes.begin(), codes.end(), rule); };
    if (codes.empty() || any([](char32_t one) { return one < 0xA0; })) {
        return std::u32string(text);
    }
    if (any([](char32_t one) { return one >= 0x800; })) {
        return *read;
    }
    const bool meant = codes.size() > 1 ? !any([](char32_t one) { return one >= 0x180 && one < 0x370; })
                                        : codes[0] < 0x100 || (codes[0] < 0x180 && latin);
    return meant ? *read : std::u32string(text);
}

/// Characters of one kind replaced; see unicode::mended.
std::u32string replaced(Text text, std::uint32_t kind) {
    const auto& table = unicode::mended;
    std::u32string out;
    for (const char32_t one : text) {
        const auto found = std::lower_bound(table.begin(), table.end(), one, [](const unicode::Mended& row, char32_t code) {
            return row.code < code;
        });
        if (found == table.end() || found->code != one || found->kind != kind) {
            out += one;
            continue;
        }
        for (const std::uint32_t instead : {found->first, found->second, found->third}) {
            if (instead != 0) {
                out += static_cast<char32_t>(instead);
            }
        }
    }
    return out;
}

std::u32string after(std::size_t step, Text text) {
    switch (step) {
        case 0: return unescaped(text);
        case 1: return decoded_again(text);
        case 6: {
            std::u32string spaced(text);
            std::replace(spaced.begin(), spaced.end(), U'_', U' ');
            return spaced;
        }
        default: return replaced(text, static_cast<std::uint32_t>(step) - 1);
    }
}

std::uint32_t case_of(char32_t one) {
    const auto& table = unicode::cased;
    const auto next = std::upper_bound(table.begin(), table.end(), one,
                                       [](char32_t code, const unicode::Cased& row) { return code < row.first; });
    return next == table.begin() ? 0 : std::prev(next)->value;
}

/// Whether the nearest character that case does not look through has a case.
template <class Iterator>
bool meets_letter(Iterator from, Iterator end) {
    const Iterator found = std::find_if(from, end, [](char32_t one) { return case_of(one) != 2; });
    return found != end && case_of(*found) == 1;
}

}  // namespace

Mended mend(std::u32string text) {
    constexpr std::array<std::string_view, 7> names{"HTML entity", "wrong encoding", "ligature",  "width",
                                                    "curly quote", "invisible mark", "underscore"};
    std::array<bool, names.size()> found{};
    std::u32string before;
    do {
        before = text;
        for (std::size_t step = 0; step < names.size(); ++step) {
            std::u32string changed = after(step, text);
            found[step] |= changed != text;
            text = std::move(changed);
        }
        text = nfc(text);
    } while (text != before);
    Mended mended{std::move(text), {}};
    for (std::size_t step = 0; step < names.size(); ++step) {
        if (found[step]) {
            mended.what.push_back(names[step]);
        }
    }
    return mended;
}

std::string with_final_sigmas(std::string_view text) {
    constexpr char32_t kSigma = 0x3A3, kFinalSigma = 0x3C2;
    const std::optional<std::u32string> characters = decode_utf8(text);
    if (!characters || characters->find(kSigma) == std::u32string::npos) {
        return std::string(text);
    }
    std::u32string out = *characters;
    for (std::size_t at = 0; at < out.size(); ++at) {
        const auto place = static_cast<std::ptrdiff_t>(at);
        const auto behind = characters->rbegin() + (static_cast<std::ptrdiff_t>(out.size()) - place);
        if ((*characters)[at] == kSigma && meets_letter(behind, characters->rend()) &&
            !meets_letter(characters->begin() + place + 1, characters->end())) {
            out[at] = kFinalSigma;
        }
    }
    return encode_utf8(out);
}

}  // namespace clsclip
