#include "unicode/unicode.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "unicode/tables_case.hpp"
#include "unicode/tables_kinds.hpp"
#include "unicode/tables_normal.hpp"

namespace clsclip {

namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr char32_t kFirstDecomposed = 0xC0;  ///< texts below it are in every normal form
constexpr char32_t kFirstMark = 0x300;       ///< texts below it are in normal form C

// Hangul syllables are made of their letters by arithmetic.
constexpr char32_t kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7, kSyllable = 0xAC00;
constexpr char32_t kLeads = 19, kVowels = 21, kTails = 28;

bool is_character(char32_t one) { return one < 0xD800 || (one >= 0xE000 && one <= 0x10FFFF); }

template <class Table>
std::uint32_t value_of(const Table& table, char32_t one) {
    const auto after = std::upper_bound(table.begin(), table.end(), one,
                                        [](char32_t code, const unicode::Start& start) { return code < start.first; });
    return after == table.begin() ? 0 : std::prev(after)->value;
}

std::uint32_t combining_class(char32_t one) { return one < kFirstMark ? 0 : value_of(unicode::combining, one); }

void decompose(char32_t one, std::u32string& out) {
    if (one < kFirstDecomposed) {
        out += one;
        return;
    }
    if (one >= kSyllable && one < kSyllable + kLeads * kVowels * kTails) {
        const char32_t index = one - kSyllable;
        out += kLead + index / (kVowels * kTails);
        out += kVowel + index / kTails % kVowels;
        if (index % kTails != 0) {
            out += kTail + index % kTails;
        }
        return;
    }
    const auto& table = unicode::decompositions;
    const auto pair = std::lower_bound(table.begin(), table.end(), one,
                                       [](const unicode::Pair& own, char32_t code) { return own.code < code; });
    if (pair == table.end() || pair->code != one) {
        out += one;
        return;
    }
    decompose(pair->first, out);  // a few levels: tables do not go round in circles
    if (pair->second != 0) {
        out += static_cast<char32_t>(pair->second);
    }
}

/// Marks between two other characters, by their classes.
void reorder(std::u32string& text) {
    for (auto at = text.begin(); at != text.end();) {
        if (combining_class(*at) == 0) {
            ++at;
            continue;
        }
        const auto end = std::find_if(at, text.end(), [](char32_t one) { return combining_class(one) == 0; });
        std::stable_sort(at, end, [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
        at = end;
    }
}

/// What two characters join to; 0 if they do not.
char32_t joined_to(char32_t first, char32_t second) {
    if (first >= kLead && first < kLead + kLeads && second >= kVowel && second < kVowel + kVowels) {
        return kSyllable + ((first - kLead) * kVowels + (second - kVowel)) * kTails;
    }
    const bool open = first >= kSyllable && first < kSyllable + kLeads * kVowels * kTails &&
                      (first - kSyllable) % kTails == 0;
    if (open && second > kTail && second < kTail + kTails) {
        return first + (second - kTail);
    }
    using Pair = unicode::Pair;
    const auto before = [](const Pair& a, const Pair& b) {
        return a.first != b.first ? a.first < b.first : a.second < b.second;
    };
    static const std::vector<Pair> pairs = [&] {
        std::vector<Pair> all;
        std::copy_if(unicode::decompositions.begin(), unicode::decompositions.end(), std::back_inserter(all),
                     [](const Pair& one) { return one.joins != 0; });
        std::sort(all.begin(), all.end(), before);
        return all;
    }();
    const Pair wanted{0, first, second, 0};
    const auto found = std::lower_bound(pairs.begin(), pairs.end(), wanted, before);
    return found != pairs.end() && found->first == first && found->second == second ? found->code : 0;
}

std::u32string compose(const std::u32string& text) {
    std::u32string out;
    std::size_t starter = 0;
    bool has_starter = false;
    std::uint32_t last = 0;  // class of the character before, where it was kept after the starter
    for (const char32_t one : text) {
        const std::uint32_t own = combining_class(one);
        const bool adjacent = has_starter && out.size() == starter + 1;
        if (has_starter && (adjacent || last < own)) {
            if (const char32_t joined = joined_to(out[starter], one); joined != 0) {
                out[starter] = joined;
                continue;
            }
        }
        if (own == 0) {
            starter = out.size();
            has_starter = true;
        }
        last = own;
        out += one;
    }
    return out;
}

template <class Runs, class Others>
std::u32string changed(std::u32string_view text, const Runs& runs, const Others& others) {
    std::u32string out;
    out.reserve(text.size());
    for (const char32_t one : text) {
        const auto code = static_cast<std::int32_t>(one);
        const auto run = std::lower_bound(runs.begin(), runs.end(), code,
                                          [](const unicode::CaseRun& own, std::int32_t at) { return own.last < at; });
        if (run != runs.end() && run->first <= code && (code - run->first) % run->step == 0) {
            out += static_cast<char32_t>(code + run->difference);
            continue;
        }
        const auto other = std::lower_bound(others.begin(), others.end(), one,
                                            [](const unicode::CaseOther& own, char32_t at) { return own.code < at; });
        if (other == others.end() || other->code != one) {
            out += one;
            continue;
        }
        for (const std::uint32_t to : {other->first, other->second, other->third}) {
            if (to != 0) {
                out += static_cast<char32_t>(to);
            }
        }
    }
    return out;
}

}  // namespace

std::optional<std::u32string> decode_utf8(std::string_view text) {
    std::u32string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const auto lead = static_cast<unsigned char>(text[at++]);
        const int more = lead < 0x80 ? 0 : lead < 0xC0 ? -1 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF8 ? 3 : -1;
        if (more < 0 || text.size() - at < static_cast<std::size_t>(more)) {
            return std::nullopt;
        }
        constexpr char32_t least[]{0, 0x80, 0x800, 0x10000};
        char32_t one = more == 0 ? lead : lead & (0x3FU >> more);
        for (int i = 0; i < more; ++i) {
            const auto next = static_cast<unsigned char>(text[at++]);
            if ((next & 0xC0) != 0x80) {
                return std::nullopt;
            }
            one = (one << 6) | (next & 0x3FU);
        }
        if (one < least[more] || !is_character(one)) {
            return std::nullopt;
        }
        out += one;
    }
    return out;
}

void append_utf8(std::string& text, char32_t character) {
    const char32_t one = is_character(character) ? character : kReplacement;
    const auto tail = [&](int shift) { text += static_cast<char>(0x80 | ((one >> shift) & 0x3F)); };
    if (one < 0x80) {
        text += static_cast<char>(one);
    } else if (one < 0x800) {
        text += static_cast<char>(0xC0 | (one >> 6));
        tail(0);
    } else if (one < 0x10000) {
        text += static_cast<char>(0xE0 | (one >> 12));
        tail(6);
        tail(0);
    } else {
        text += static_cast<char>(0xF0 | (one >> 18));
        tail(12);
        tail(6);
        tail(0);
    }
}

std::string encode_utf8(std::u32string_view text) {
    std::string out;
    for (const char32_t one : text) {
        append_utf8(out, one);
    }
    return out;
}

std::u32string nfc(std::u32string_view text) {
    if (std::all_of(text.begin(), text.end(), [](char32_t one) { return one < kFirstMark; })) {
        return std::u32string(text);
    }
    std::u32string parts;
    parts.reserve(text.size());
    for (const char32_t one : text) {
        decompose(one, parts);
    }
    reorder(parts);
    return compose(parts);
}

std::u32string to_lower(std::u32string_view text) { return changed(text, unicode::lower, unicode::lower_others); }

std::u32string casefold(std::u32string_view text) { return changed(text, unicode::folded, unicode::folded_others); }

CharacterKind kind_of(char32_t character) noexcept {
    return static_cast<CharacterKind>(value_of(unicode::kinds, character));
}

bool is_space(char32_t character) noexcept {
    return (character >= 0x1C && character <= 0x1F) || kind_of(character) == CharacterKind::space;
}

bool is_invisible(char32_t character) noexcept { return value_of(unicode::invisible, character) != 0; }

}  // namespace clsclip
