#include "text/matching.hpp"

#include <algorithm>
#include <optional>
#include <string_view>
#include <set>
#include <array>
#include <map>
#include <numeric>

#include "text/spelling.hpp"
#include "errors.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

std::u32string characters(const std::string& text) {
    const auto decoded = decode_utf8(text);
    if (!decoded) {
        fail<OptionError>("a word or a class name is not valid UTF-8. Convert it first");
    }
    return *decoded;
}

/// A plain spelling, with everything that rules ask of it.
struct Spelling {
    explicit Spelling(const std::u32string& plain) : joined(without_spaces(plain)), things(clsclip::things(plain)) {
        for (const std::u32string& one : clsclip::singulars(plain)) {
            singulars.push_back(without_spaces(one));
        }
    }

    std::u32string joined;
    std::vector<std::u32string> singulars;
    std::vector<std::u32string_view> things;
};

template <class Items, class Item>
bool holds(const Items& items, const Item& item) {
    return std::find(items.begin(), items.end(), item) != items.end();
}

bool exact(const Spelling& word, const Spelling& name) { return word.joined == name.joined; }

bool one_number(const Spelling& word, const Spelling& name) {
    return holds(name.singulars, word.joined) || holds(word.singulars, name.joined);
}

bool synonym(const Spelling& word, const Spelling& name) {
    return std::any_of(word.things.begin(), word.things.end(),
                       [&](std::u32string_view thing) { return holds(name.things, thing); });
}

using Name = std::vector<Spelling>;  ///< all that a class name offers

NameMatch by_rules(const Spelling& word, const std::vector<Name>& names) {
    struct Rule {
        const char* how;
        bool (*matches)(const Spelling&, const Spelling&);
    };
    for (const Rule& rule : {Rule{"exact", exact}, Rule{"plural", one_number}, Rule{"synonym", synonym}}) {
        NameMatch match{{}, rule.how, {}};
        for (std::size_t at = 0; at < names.size(); ++at) {
            if (std::any_of(names[at].begin(), names[at].end(),
                            [&](const Spelling& one) { return rule.matches(word, one); })) {
                match.classes.push_back(static_cast<int>(at));
            }
        }
        if (!match.classes.empty()) {
            return match;
        }
    }
    return {{}, "none", {}};
}

/// Values of every row; OptionError unless there are as many rows as asked, of one size.
std::size_t row_size(const std::vector<float>& values, std::size_t rows) {
    if (rows == 0 || values.empty() || values.size() % rows != 0) {
        fail<OptionError>("encode must give one row of features for every word, and it gave ", values.size(),
                          " values for ", rows, " words");
    }
    return values.size() / rows;
}

/// The nearest of the `known` names, which are plain and have a number each.
void by_features(std::span<const std::string> words, const std::map<int, std::string>& known, const EncodeWords& encode,
                 float threshold, std::span<NameMatch* const> found) {
    std::vector<std::string> names;
    std::vector<int> numbers;
    for (const auto& [number, name] : known) {
        numbers.push_back(number);
        names.push_back(name);
    }
    // The names first: they are the same in every call, and encoders keep what they know.
    const std::vector<float> of_names = encode(names);
    const std::vector<float> of_words = encode(words);
    const std::size_t size = row_size(of_names, names.size());
    if (row_size(of_words, words.size()) != size) {
        fail<OptionError>("encode gave rows of different sizes for words and class names");
    }
    for (std::size_t at = 0; at < words.size(); ++at) {
        const float* word = of_words.data() + at * size;
        std::size_t best = 0;
        float highest = -2;
        for (std::size_t name = 0; name < names.size(); ++name) {
            const float cosine = std::inner_product(word, word + size, of_names.data() + name * size, 0.0F);
            if (cosine > highest) {
                best = name;
                highest = cosine;
            }
        }
        found[at]->similarity = highest;
        if (highest >= threshold) {
            found[at]->classes = {numbers[best]};
            found[at]->how = "nearest";
        }
    }
}

}  // namespace

std::vector<NameMatch> match_words(std::span<const std::string> words, std::span<const std::string> names,
                                    const EncodeWords& encode,
                                   const std::function<bool(const std::string&)>& knows, float threshold) {
    if (!(threshold >= -1 && threshold <= 1)) {
        fail<OptionError>("the threshold of the nearest class must be from -1 to 1, and it is ", threshold);
    }
    std::vector<Name> spelt;
    for (const std::string& name : names) {
        Name own;
        for (const std::u32string& one : alternatives(characters(name))) {
            own.emplace_back(one);
        }
        spelt.push_back(std::move(own));
    }
    std::vector<NameMatch> found;
    for (const std::string& word : words) {
        found.push_back(by_rules(Spelling(plain(characters(word))), spelt));
    }
    std::vector<std::string> missing;
    std::vector<NameMatch*> places;
    for (std::size_t at = 0; at < words.size(); ++at) {
        if (found[at].how == "none") {
            missing.push_back(words[at]);
            places.push_back(&found[at]);
        }
    }
    if (!encode || missing.empty()) {
        return found;
    }
    std::map<int, std::string> known;
    for (std::size_t at = 0; at < names.size(); ++at) {
        std::string name = encode_utf8(plain(characters(names[at])));
        if (!knows || knows(name)) {
            known.emplace(static_cast<int>(at), std::move(name));
        }
    }
    if (!known.empty()) {
        by_features(missing, known, encode, threshold, places);
    }
    return found;
}

NameMatch joined_match(std::span<const NameMatch> matches) {
    constexpr std::array<std::string_view, 6> rules{"exact", "plural", "synonym", "nearest", "any", "none"};
    const auto rank = [&](const NameMatch& one) { return std::find(rules.begin(), rules.end(), one.how) - rules.begin(); };
    const auto surest = std::min_element(matches.begin(), matches.end(),
                                         [&](const NameMatch& one, const NameMatch& other) { return rank(one) < rank(other); });
    std::set<int> classes;
    NameMatch joined{{}, surest->how, std::nullopt};
    for (const NameMatch& one : matches) {
        classes.insert(one.classes.begin(), one.classes.end());
        if (one.similarity && (joined.how == "nearest" || joined.how == "none")) {
            joined.similarity = std::max(joined.similarity.value_or(-1.0F), *one.similarity);
        }
    }
    joined.classes.assign(classes.begin(), classes.end());
    return joined;
}

bool is_class_agnostic(std::span<const std::string> names) {
    return names.size() == 1 && means_anything(plain(characters(names.front())));
}

}  // namespace clsclip
