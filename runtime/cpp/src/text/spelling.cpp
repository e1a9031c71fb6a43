#include "text/spelling.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "shared_data.hpp"
#include "text/mending.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

using Text = std::u32string_view;

std::u32string characters(const Json& text) { return *decode_utf8(text.get_ref<const std::string&>()); }

/// Every word of the synonyms, and of each the first of its kind: the name of the thing.
const std::map<std::u32string, std::u32string>& names_of_things() {
    static const std::map<std::u32string, std::u32string> known = [] {
        std::map<std::u32string, std::u32string> all;
        for (const Json& words : synonyms().at("synonyms")) {
            for (const Json& one : words) {
                all.insert_or_assign(without_spaces(characters(one)), characters(words.front()));
            }
        }
        return all;
    }();
    return known;
}

/// Plurals that no rule makes, and their singulars.
const std::map<std::u32string, std::u32string>& irregular_plurals() {
    static const std::map<std::u32string, std::u32string> known = [] {
        std::map<std::u32string, std::u32string> all;
        for (const auto& [plural, singular] : synonyms().at("irregular_plurals").items()) {
            all.emplace(characters(Json(plural)), characters(singular));
        }
        return all;
    }();
    return known;
}

std::u32string with_end(Text word, std::size_t cut, Text end) {
    return std::u32string(word.substr(0, word.size() - cut)).append(end);
}

/// What one word could be the plural of.
std::vector<std::u32string> guesses(Text word) {
    std::vector<std::u32string> all;
    const auto irregular = irregular_plurals().find(std::u32string(word));
    if (irregular != irregular_plurals().end()) {
        all.emplace_back(irregular->second);
    }
    if (word.ends_with(U"men") && word != U"specimen") {
        all.push_back(with_end(word, 3, U"man"));
    }
    if (!word.ends_with(U's') || word.ends_with(U"ss")) {
        return all;
    }
    all.push_back(with_end(word, 1, U""));
    if (word.ends_with(U"ies")) {
        all.push_back(with_end(word, 3, U"y"));
    }
    if (word.ends_with(U"ves")) {
        all.push_back(with_end(word, 3, U"f"));
        all.push_back(with_end(word, 3, U"fe"));
    }
    constexpr std::array<Text, 6> hissing{U"ses", U"xes", U"zes", U"ches", U"shes", U"oes"};
    if (std::any_of(hissing.begin(), hissing.end(), [&](Text end) { return word.ends_with(end); })) {
        all.push_back(with_end(word, 2, U""));
    }
    return all;
}

/// Without what stands in brackets, which become spaces; of brackets within each other the innermost.
std::u32string without_brackets(Text name) {
    std::u32string out;
    for (std::size_t at = 0; at < name.size();) {
        if (name[at] == U'(') {
            const std::size_t end = name.find_first_of(U"()", at + 1);
            if (end != Text::npos && name[end] == U')') {
                out += U' ';
                at = end + 1;
                continue;
            }
        }
        out += name[at++];
    }
    return out;
}

}  // namespace

std::u32string plain(std::u32string_view word) {
    std::u32string out;
    bool space = false;
    for (const char32_t one : casefold(mend(std::u32string(word)).text)) {
        if (one == U'-' || is_space(one)) {
            space = !out.empty();
            continue;
        }
        if (std::exchange(space, false)) {
            out += U' ';
        }
        out += one;
    }
    return out;
}

std::u32string without_spaces(std::u32string_view word) {
    std::u32string out(word);
    std::erase(out, U' ');
    return out;
}

std::vector<std::u32string> singulars(const std::u32string& word) {
    std::vector<std::u32string> found{word};
    const std::size_t space = word.rfind(U' ');
    const std::size_t last = space == std::u32string::npos ? 0 : space + 1;
    for (const std::u32string& guess : guesses(Text(word).substr(last))) {
        if (guess.size() > 1) {
            found.push_back(word.substr(0, last) + guess);
        }
    }
    return found;
}

std::vector<std::u32string> alternatives(std::u32string_view name) {
    const std::u32string bare = without_brackets(name);
    std::vector<std::u32string> all;
    const auto offer = [&](Text part) {
        std::u32string one = plain(part);
        if (!one.empty() && std::find(all.begin(), all.end(), one) == all.end()) {
            all.push_back(std::move(one));
        }
    };
    offer(name);
    offer(bare);
    for (std::size_t from = 0; from <= bare.size();) {
        const std::size_t slash = std::min(bare.find(U'/', from), bare.size());
        offer(Text(bare).substr(from, slash - from));
        from = slash + 1;
    }
    return all;
}

std::vector<std::u32string_view> things(const std::u32string& word) {
    std::vector<Text> found;
    for (const std::u32string& one : singulars(word)) {
        if (const auto thing = names_of_things().find(without_spaces(one)); thing != names_of_things().end()) {
            found.emplace_back(thing->second);
        }
    }
    return found;
}

bool means_anything(const std::u32string& word) {
    static const std::vector<std::string_view> names = texts_at(synonyms(), "/class_agnostic");
    const std::vector<std::u32string> all = singulars(word);
    return std::any_of(all.begin(), all.end(), [](const std::u32string& one) {
        return std::find(names.begin(), names.end(), encode_utf8(one)) != names.end();
    });
}

}  // namespace clsclip
