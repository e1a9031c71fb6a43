/// Reading tokenizer.json. Everything in it is checked: it may come from anywhere.
#include <algorithm>
#include <limits>
#include <set>

#include "json.hpp"
#include "errors.hpp"
#include "text/tokenizer.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 25;
constexpr std::size_t kMostAdded = 4096;      ///< tokens that are looked for at every character of a text
constexpr std::size_t kMostTokenBytes = 4096;  ///< of one token

constexpr std::size_t kMostSteps = 16;  ///< of a pipeline
constexpr double kMostGrowth = 4;       ///< times as long as a text that all replacements together may make it

/// A value for messages.
std::string brief(const Json& value) {
    if (value.is_structured()) {
        return value.is_object() ? "an object" : "a list";
    }
    const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
    return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

[[noreturn]] void bad(std::string_view key, std::string_view wanted, const Json& value) {
    fail<BundleError>("'", key, "' must be ", wanted, ", and it is ", brief(value));
}

[[noreturn]] void unknown(std::string_view what, const Json& value) {
    fail<BundleError>("this version of clsclip does not know ", what, " ", brief(value));
}

const Json& member(const Json& object, const char* key) {
    if (!object.is_object()) {
        fail<BundleError>("an object with '", key, "' was expected, and it is ", brief(object));
    }
    const auto found = object.find(key);
    if (found == object.end()) {
        fail<BundleError>("the key '", key, "' is missing");
    }
    return *found;
}

/// The member, or null where it is missing.
const Json& optional_member(const Json& object, const char* key) {
    static const Json null;
    if (!object.is_object()) {
        fail<BundleError>("an object with '", key, "' was expected, and it is ", brief(object));
    }
    const auto found = object.find(key);
    return found == object.end() ? null : *found;
}

const std::string& text(const Json& object, const char* key) {
    const Json& value = member(object, key);
    if (!value.is_string()) {
        bad(key, "a text", value);
    }
    return value.get_ref<const std::string&>();
}

bool flag(const Json& object, const char* key, bool otherwise) {
    const Json& value = optional_member(object, key);
    if (value.is_null()) {
        return otherwise;
    }
    if (!value.is_boolean()) {
        bad(key, "true or false", value);
    }
    return value.get<bool>();
}

std::string text_or_empty(const Json& object, const char* key) {
    return optional_member(object, key).is_null() ? std::string() : text(object, key);
}

const Json& list(const Json& object, const char* key) {
    const Json& value = member(object, key);
    if (!value.is_array()) {
        bad(key, "a list", value);
    }
    return value;
}

std::int32_t id_from(std::string_view key, const Json& value) {
    if (!value.is_number_integer() || value < 0 || value > std::numeric_limits<std::int32_t>::max()) {
        bad(key, "a whole number from 0 to 2147483647", value);
    }
    return value.get<std::int32_t>();
}

std::u32string characters(const std::string& utf8) {
    // The JSON parser refuses invalid UTF-8, so there always is a text.
    return decode_utf8(utf8).value_or(std::u32string());
}

void read_normalizer(const Json& data, Normalizer& steps) {
    if (data.is_null()) {
        return;
    }
    using Kind = NormalizerStep::Kind;
    const std::string& type = text(data, "type");
    if (type == "Sequence") {
        for (const Json& one : list(data, "normalizers")) {
            read_normalizer(one, steps);
        }
    } else if (type == "NFC") {
        steps.push_back({Kind::nfc, {}, {}});
    } else if (type == "Lowercase") {
        steps.push_back({Kind::lower, {}, {}});
    } else if (type == "Replace") {
        const Json& pattern = member(data, "pattern");
        const std::u32string content = characters(text(data, "content"));
        if (!optional_member(pattern, "String").is_null()) {
            steps.push_back({Kind::replace_text, characters(text(pattern, "String")), content});
            if (steps.back().pattern.empty()) {
                bad("pattern", "a text that is not empty", pattern.at("String"));
            }
        } else if (text(pattern, "Regex") == R"(\s+)") {
            steps.push_back({Kind::replace_spaces, {}, content});
        } else {
            unknown("the pattern of a normalizer", pattern.at("Regex"));
        }
    } else {
        unknown("the normalizer", data.at("type"));
    }
}

void read_pre_tokenizer(const Json& data, PreTokenizer& steps) {
    if (data.is_null()) {
        return;
    }
    using Kind = PreTokenizerStep::Kind;
    const std::string& type = text(data, "type");
    if (type == "Sequence") {
        for (const Json& one : list(data, "pretokenizers")) {
            read_pre_tokenizer(one, steps);
        }
    } else if (type == "ByteLevel") {
        steps.push_back({Kind::byte_level, flag(data, "add_prefix_space", true), flag(data, "use_regex", true)});
    } else if (type == "Split") {
        const Json& pattern = member(data, "pattern");
        if (text(pattern, "Regex") != kClipPattern) {
            unknown("the pattern of a split", pattern.at("Regex"));
        }
        if (text(data, "behavior") != "Removed" || !flag(data, "invert", false)) {
            unknown("a split but with invert and the behavior \"Removed\":", data.at("behavior"));
        }
        steps.push_back({Kind::clip_words, false, false});
    } else {
        unknown("the pre-tokenizer", data.at("type"));
    }
}

BytePairs::Vocabulary read_vocabulary(const Json& data) {
    if (!data.is_object() || data.empty()) {
        bad("vocab", "an object of tokens and their numbers", data);
    }
    BytePairs::Vocabulary vocabulary;
    for (const auto& [token, id] : data.items()) {
        if (token.size() > kMostTokenBytes) {
            fail<BundleError>("a token of 'vocab' has ", token.size(), " bytes, and the limit is ", kMostTokenBytes);
        }
        vocabulary.emplace_hint(vocabulary.end(), token, id_from("vocab", id));
    }
    return vocabulary;
}

/// A merge is a list of two tokens, or (in older files) a text of both with a space between.
std::pair<std::string, std::string> read_merge(const Json& data) {
    if (data.is_string()) {
        const auto& both = data.get_ref<const std::string&>();
        const std::size_t space = both.find(' ');
        if (space != std::string::npos && both.find(' ', space + 1) == std::string::npos) {
            return {both.substr(0, space), both.substr(space + 1)};
        }
    } else if (data.is_array() && data.size() == 2 && data[0].is_string() && data[1].is_string()) {
        return {data[0].get<std::string>(), data[1].get<std::string>()};
    }
    bad("merges", "pairs of tokens", data);
}

BytePairs read_model(const Json& data) {
    // Files of old versions of the library do not name the type of byte pairs.
    if (!optional_member(data, "type").is_null() && text(data, "type") != "BPE") {
        unknown("the model", data.at("type"));
    }
    const Json& dropout = optional_member(data, "dropout");
    if (!dropout.is_null() && !(dropout.is_number() && dropout == 0)) {
        unknown("dropout in a tokenizer that is used, not trained:", dropout);
    }
    if (flag(data, "byte_fallback", false)) {
        unknown("byte_fallback", data.at("byte_fallback"));
    }
    BytePairs::Options options;
    if (!optional_member(data, "unk_token").is_null()) {
        options.unknown = text(data, "unk_token");
    }
    options.prefix = text_or_empty(data, "continuing_subword_prefix");
    options.suffix = text_or_empty(data, "end_of_word_suffix");
    options.fuse_unknown = flag(data, "fuse_unk", false);
    options.ignore_merges = flag(data, "ignore_merges", false);
    std::vector<std::pair<std::string, std::string>> merges;
    for (const Json& one : list(data, "merges")) {
        merges.push_back(read_merge(one));
    }
    return {read_vocabulary(member(data, "vocab")), merges, std::move(options)};
}

}  // namespace

/// Fills a Tokenizer from its JSON.
class TokenizerReader {
public:
    static Tokenizer read(const Json& data) {
        TokenizerReader reader;
        Tokenizer& made = reader.made_;
        read_normalizer(optional_member(data, "normalizer"), made.normalizer_);
        read_pre_tokenizer(optional_member(data, "pre_tokenizer"), made.pre_tokenizer_);
        check_steps(made);
        made.model_ = read_model(member(data, "model"));
        reader.read_added(optional_member(data, "added_tokens"));
        reader.read_post_processor(optional_member(data, "post_processor"));
        return std::move(made);
    }

private:
    /// Steps are few, and do not make a text endless.
    static void check_steps(const Tokenizer& made) {
        if (made.normalizer_.size() > kMostSteps || made.pre_tokenizer_.size() > kMostSteps) {
            fail<BundleError>("it has more than ", kMostSteps, " steps");
        }
        double growth = 1;
        for (const NormalizerStep& step : made.normalizer_) {
            const auto longer = static_cast<double>(step.content.size());
            growth *= std::max(1.0, longer / static_cast<double>(std::max<std::size_t>(1, step.pattern.size())));
        }
        if (growth > kMostGrowth) {
            fail<BundleError>("its steps make a short text endless");
        }
    }

    /// Added tokens; the library numbers those that the vocabulary lacks by itself, so other numbers are refused.
    void read_added(const Json& data) {
        if (data.is_null()) {
            return;
        }
        if (!data.is_array() || data.size() > kMostAdded) {
            bad("added_tokens", text_of("a list of up to ", kMostAdded, " tokens"), data);
        }
        auto next = static_cast<std::int64_t>(made_.model_.size());
        std::set<std::string> known;
        for (const Json& one : data) {
            const std::string& content = text(one, "content");
            if (content.empty() || content.size() > kMostTokenBytes || !known.insert(content).second) {
                fail<BundleError>("an added token is empty, too long, or comes twice");
            }
            for (const char* key : {"single_word", "lstrip", "rstrip"}) {
                if (flag(one, key, false)) {
                    unknown(text_of("added tokens with ", key, ":"), one.at("content"));
                }
            }
            const std::int32_t id = id_from("id", member(one, "id"));
            const std::int64_t expected = made_.model_.id_of(content) ? *made_.model_.id_of(content) : next;
            if (id != expected) {
                fail<BundleError>("an added token has the number ", id, ", and by the vocabulary it is ", expected);
            }
            next = std::max(next, std::int64_t{id} + 1);
            add({characters(content), id}, flag(one, "normalized", !flag(one, "special", false)));
        }
        const auto longer = [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); };
        std::stable_sort(made_.added_.begin(), made_.added_.end(), longer);
        std::stable_sort(made_.added_normalized_.begin(), made_.added_normalized_.end(), longer);
    }

    void add(Tokenizer::Added token, bool normalized) {
        if (!normalized) {
            made_.added_.push_back(std::move(token));
            return;
        }
        token.text = normalize(made_.normalizer_, token.text);
        if (!token.text.empty()) {
            made_.added_normalized_.push_back(std::move(token));
        }
    }

    void read_post_processor(const Json& data) {
        if (data.is_null()) {
            return;
        }
        const std::string& type = text(data, "type");
        if (type == "Sequence") {
            for (const Json& one : list(data, "processors")) {
                read_post_processor(one);
            }
        } else if (type == "TemplateProcessing") {
            read_template(data);
        } else if (type == "RobertaProcessing") {
            made_.start_.push_back(pair_id(data, "cls"));
            made_.end_.push_back(pair_id(data, "sep"));
        } else if (type != "ByteLevel") {  // which moves offsets only
            unknown("the post-processor", data.at("type"));
        }
        // What two processors would do to each other's tokens is nowhere written.
        if (type != "Sequence" && type != "ByteLevel" && std::exchange(has_template_, true)) {
            fail<BundleError>("several post-processors add tokens, and this version of clsclip knows one");
        }
    }

    static std::int64_t pair_id(const Json& data, const char* key) {
        const Json& pair = list(data, key);
        if (pair.size() != 2) {
            bad(key, "a token and its number", pair);
        }
        return id_from(key, pair[1]);
    }

    void read_template(const Json& data) {
        const Json& specials = member(data, "special_tokens");
        bool after_text = false;
        for (const Json& one : list(data, "single")) {
            const Json& sequence = optional_member(one, "Sequence");
            if (!sequence.is_null()) {
                if (after_text || text(sequence, "id") != "A") {
                    fail<BundleError>("a template for one text must hold that text once");
                }
                after_text = true;
                continue;
            }
            const std::string& name = text(member(one, "SpecialToken"), "id");
            auto& ids = after_text ? made_.end_ : made_.start_;
            for (const Json& id : list(member(specials, name.c_str()), "ids")) {
                ids.push_back(id_from("ids", id));
            }
        }
        if (!after_text) {
            fail<BundleError>("a template for one text must hold that text once");
        }
    }

    Tokenizer made_;
    bool has_template_ = false;
};

Tokenizer Tokenizer::from_json(std::string_view document) {
    try {
        if (document.size() > kMostBytes) {
            fail<BundleError>("it has ", document.size(), " bytes, and the limit is ", kMostBytes);
        }
        return TokenizerReader::read(parse_json(document));
    } catch (const Json::exception& error) {
        fail<BundleError>("tokenizer.json is not a usable tokenizer: ", one_line(ascii_reason(error), 200),
                          ". Export the bundle again");
    } catch (const BundleError& error) {
        fail<BundleError>("tokenizer.json is not a usable tokenizer: ", error.what(), ". Export the bundle again");
    }
}

}  // namespace clsclip
