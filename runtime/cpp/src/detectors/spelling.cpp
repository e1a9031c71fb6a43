#include "detectors/spelling.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "text/unicode.hpp"

namespace clsclip {

namespace {

using Text = std::u32string_view;

/// Words for one thing, as VOC, COCO, Objects365 and British and American English name it; the first is its name.
const std::vector<std::vector<Text>>& synonyms() {
    static const std::vector<std::vector<Text>> all{
        {U"airplane", U"aeroplane", U"plane", U"aircraft"},
        {U"backpack", U"rucksack", U"knapsack"},
        {U"bicycle", U"bike", U"push bike"},
        {U"car", U"automobile", U"motorcar"},
        {U"cell phone", U"mobile phone", U"mobile", U"phone", U"smartphone", U"telephone"},
        {U"couch", U"sofa", U"settee"},
        {U"cow", U"cattle"},
        {U"dining table", U"dinner table"},
        {U"donut", U"doughnut"},
        {U"fire hydrant", U"hydrant"},
        {U"frisbee", U"flying disc"},
        {U"hair drier", U"hair dryer", U"blow dryer"},
        {U"handbag", U"purse"},
        {U"keyboard", U"computer keyboard"},
        {U"laptop", U"laptop computer", U"notebook computer"},
        {U"microwave", U"microwave oven"},
        {U"motorcycle", U"motorbike"},
        {U"mouse", U"computer mouse"},
        {U"person", U"human", U"human being"},
        {U"potted plant", U"pot plant", U"houseplant"},
        {U"rabbit", U"bunny"},
        {U"refrigerator", U"fridge"},
        {U"remote", U"remote control"},
        {U"sports ball", U"ball"},
        {U"stove", U"cooker"},
        {U"suitcase", U"luggage"},
        {U"teddy bear", U"teddy"},
        {U"tie", U"necktie"},
        {U"traffic light", U"traffic signal", U"stoplight"},
        {U"trash can", U"garbage can", U"trash bin", U"garbage bin", U"rubbish bin", U"dustbin"},
        {U"truck", U"lorry"},
        {U"tv", U"television", U"tv monitor", U"tv set", U"television set"},
    };
    return all;
}

constexpr std::array<std::pair<Text, Text>, 11> kIrregular{{
    {U"people", U"person"},
    {U"children", U"child"},
    {U"mice", U"mouse"},
    {U"geese", U"goose"},
    {U"feet", U"foot"},
    {U"teeth", U"tooth"},
    {U"oxen", U"ox"},
    {U"dice", U"die"},
    {U"cacti", U"cactus"},
    {U"octopi", U"octopus"},
    {U"fungi", U"fungus"},
}};

constexpr std::array<Text, 7> kAnything{U"thing",    U"object", U"item",  U"foreground",
                                        U"instance", U"entity", U"region"};

std::u32string with_end(Text word, std::size_t cut, Text end) {
    return std::u32string(word.substr(0, word.size() - cut)).append(end);
}

/// What one word could be the plural of.
std::vector<std::u32string> guesses(Text word) {
    std::vector<std::u32string> all;
    const auto irregular =
        std::find_if(kIrregular.begin(), kIrregular.end(), [&](const auto& one) { return one.first == word; });
    if (irregular != kIrregular.end()) {
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
    for (const char32_t one : casefold(word)) {
        if (one == U'_' || one == U'-' || is_space(one)) {
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
    static const std::map<std::u32string, Text> known = [] {
        std::map<std::u32string, Text> all;
        for (const auto& words : synonyms()) {
            for (const Text one : words) {
                all.insert_or_assign(without_spaces(one), words.front());
            }
        }
        return all;
    }();
    std::vector<Text> found;
    for (const std::u32string& one : singulars(word)) {
        if (const auto thing = known.find(without_spaces(one)); thing != known.end()) {
            found.push_back(thing->second);
        }
    }
    return found;
}

bool means_anything(const std::u32string& word) {
    const std::vector<std::u32string> all = singulars(word);
    return std::any_of(all.begin(), all.end(), [](const std::u32string& one) {
        return std::find(kAnything.begin(), kAnything.end(), one) != kAnything.end();
    });
}

}  // namespace clsclip
