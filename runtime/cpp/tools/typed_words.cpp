#include "typed_words.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "clsclip/clsclip.hpp"

namespace clsclip::tool {

namespace {

using Text = std::string_view;

constexpr std::array<Text, 5> kCommas{",", "\uff0c", "\u3001", "\uff64", "\u060c"};
constexpr std::array<std::pair<Text, Text>, 6> kQuotes{{{"\"", "\""},
                                                       {"'", "'"},
                                                       {"\u201c", "\u201d"},
                                                       {"\u2018", "\u2019"},
                                                       {"\u00ab", "\u00bb"},
                                                       {"\u201e", "\u201c"}}};

enum class Mark { comma, equals, bar };

/// Bytes of white space at a place of a text.
std::size_t space_at(Text text, std::size_t at) {
    static constexpr std::array<Text, 4> wide{"\u3000", "\u00a0", "\u2009", "\u202f"};
    if (at < text.size() && (text[at] == ' ' || (text[at] >= 9 && text[at] <= 13))) {
        return 1;
    }
    const auto found = std::find_if(wide.begin(), wide.end(), [&](Text one) { return text.substr(at).starts_with(one); });
    return found == wide.end() || at >= text.size() ? 0 : found->size();
}

Text stripped(Text text) {
    while (const std::size_t bytes = space_at(text, 0)) {
        text.remove_prefix(bytes);
    }
    for (bool found = true; found && !text.empty();) {
        found = false;
        for (std::size_t bytes = 1; bytes <= std::min<std::size_t>(3, text.size()) && !found; ++bytes) {
            if (space_at(text, text.size() - bytes) == bytes) {
                text.remove_suffix(bytes);
                found = true;
            }
        }
    }
    return text;
}

/// The mark at a place, and its bytes.
std::optional<std::pair<Mark, std::size_t>> mark_at(Text text, std::size_t at) {
    const Text rest = text.substr(at);
    for (const Text comma : kCommas) {
        if (rest.starts_with(comma)) {
            return std::pair(Mark::comma, comma.size());
        }
    }
    if (rest.starts_with("|")) {
        return std::pair(Mark::bar, std::size_t{1});
    }
    const std::size_t before = space_at(text, at);
    if (before > 0 && text.substr(at + before).starts_with("=")) {
        if (const std::size_t after = space_at(text, at + before + 1)) {
            return std::pair(Mark::equals, before + 1 + after);
        }
    }
    return std::nullopt;
}

/// Where a quoted part that begins at a place ends; the place itself where there is none.
std::size_t end_of_quotes(Text text, std::size_t at) {
    std::size_t first = at;
    while (const std::size_t bytes = space_at(text, first)) {
        first += bytes;
    }
    for (const auto& [open, close] : kQuotes) {
        if (!text.substr(first).starts_with(open)) {
            continue;
        }
        const std::size_t end = text.find(close, first + open.size());
        if (end == Text::npos) {
            return at;
        }
        std::size_t next = end + close.size();
        for (std::size_t place = next; place <= text.size();) {
            if (place == text.size() || mark_at(text, place)) {
                return next;
            }
            const std::size_t bytes = space_at(text, place);
            if (bytes == 0) {
                return at;
            }
            place += bytes;
        }
    }
    return at;
}

/// The parts of a text between marks of one kind that do not stand in quotes.
std::vector<Text> split(Text text, Mark separator) {
    std::vector<Text> found;
    std::size_t start = 0, at = 0;
    for (bool begins = true;;) {
        if (std::exchange(begins, false)) {
            at = end_of_quotes(text, at);
        }
        if (at >= text.size()) {
            found.push_back(text.substr(start));
            return found;
        }
        const auto mark = mark_at(text, at);
        if (!mark) {
            ++at;
            continue;
        }
        if (mark->first == separator) {
            found.push_back(text.substr(start, at - start));
            start = at + mark->second;
        }
        at += mark->second;
        begins = true;
    }
}

Text unquoted(Text text) {
    text = stripped(text);
    for (const auto& [open, close] : kQuotes) {
        if (text.size() >= open.size() + close.size() && text.starts_with(open) && text.ends_with(close)) {
            const Text inside = text.substr(open.size(), text.size() - open.size() - close.size());
            if (inside.find(close) == Text::npos) {
                return inside;
            }
        }
    }
    return text;
}

std::vector<std::string> prompts_of(Text text) {
    std::vector<std::string> prompts;
    for (const Text part : split(text, Mark::bar)) {
        if (const Text bare = unquoted(part); !stripped(bare).empty()) {
            prompts.emplace_back(bare);
        }
    }
    if (prompts.empty()) {
        prompts.emplace_back();
    }
    return prompts;
}

/// The name of a class of several prompts that was given none: its first prompt, as that is read.
std::string name_of(const std::string& prompt) {
    try {
        return clean_word(prompt);
    } catch (const WordError&) {
        return prompt;  // whoever reads the prompts refuses it
    }
}

/// Take in one class; returns its name as typed.
std::string add_class(Text text, TypedWords& typed) {
    const std::vector<Text> parts = split(text, Mark::equals);
    const bool has_name = parts.size() > 1;
    const Text rest = has_name ? text.substr(static_cast<std::size_t>(parts[1].data() - text.data())) : text;
    std::vector<std::string> prompts = prompts_of(rest);
    const std::string shown = has_name ? std::string(unquoted(parts[0])) : prompts[0];
    if (!has_name && prompts.size() == 1) {
        typed.classes.push_back(shown);
        return shown;
    }
    const std::string name = has_name ? shown : name_of(prompts[0]);
    typed.classes.push_back(name);
    std::vector<std::string>& own = typed.prompts[name];
    own.insert(own.end(), prompts.begin(), prompts.end());
    return shown;
}

}  // namespace

TypedWords typed_words(const std::vector<std::string>& words) {
    TypedWords typed;
    for (const std::string& word : words) {
        std::vector<Text> parts = split(word, Mark::comma);
        std::erase_if(parts, [](Text part) { return stripped(part).empty(); });
        if (parts.empty()) {
            parts.emplace_back(word);
        }
        std::ostringstream names;
        for (std::size_t at = 0; at < parts.size(); ++at) {
            names << (at == 0 ? "" : ", ") << stripped(add_class(parts[at], typed));
        }
        if (parts.size() > 1) {
            std::ostringstream note;
            note << "'" << stripped(word) << "' has a comma and was read as " << parts.size()
                 << " classes: " << names.str();
            typed.notes.push_back(note.str());
        }
    }
    return typed;
}

}  // namespace clsclip::tool
