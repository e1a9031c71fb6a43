#include <fstream>
#include <iterator>

#include "parts.hpp"
#include "clsclip/clsclip.hpp"
#include "text/mending.hpp"
#include "text/tokenizer.hpp"
#include "text/words.hpp"
#include "unicode/unicode.hpp"

namespace clsclip::parts {

namespace {

/// The tokenizer of a file; files are read once.
const Tokenizer& tokenizer_of(const std::string& file) {
    static std::map<std::string, Tokenizer> known;
    const auto found = known.find(file);
    if (found != known.end()) {
        return found->second;
    }
    std::ifstream in(file, std::ios::binary);
    const std::string document{std::istreambuf_iterator<char>(in), {}};
    return known.emplace(file, Tokenizer::from_json(document)).first->second;
}

std::u32string characters_of(const Json& text) {
    const auto characters = decode_utf8(text.get<std::string>());
    return characters ? *characters : throw WordError("not UTF-8");
}

std::u32string changed(const std::string& how, std::u32string_view text) {
    return how == "nfc" ? nfc(text) : how == "lower" ? to_lower(text) : casefold(text);
}

}  // namespace

void add_text(Answers& answers) {
    answers["read_tokenizer"] = [](const Json& question) -> Json {
        static_cast<void>(Tokenizer::from_json(question.at("document").get<std::string>()));
        return true;
    };
    // Bytes that JSON cannot hold, as numbers.
    answers["read_tokenizer_bytes"] = [](const Json& question) -> Json {
        const auto bytes = question.at("bytes").get<std::vector<unsigned char>>();
        static_cast<void>(Tokenizer::from_json(std::string(bytes.begin(), bytes.end())));
        return true;
    };
    answers["encode"] = [](const Json& question) -> Json {
        const Tokenizer& tokenizer = tokenizer_of(question.at("file"));
        Json all = Json::array();
        for (const auto& text : question.at("texts")) {
            all.push_back(tokenizer.encode(text.get<std::string>()));
        }
        return all;
    };
    answers["encode_prompts"] = [](const Json& question) -> Json {
        TextSpec spec;
        spec.context_length = question.at("length").get<int>();
        spec.pad_token_id = question.at("pad").get<std::int64_t>();
        Json all = Json::array();
        for (const auto& word : question.at("words")) {
            for (const auto& one : question.at("templates")) {
                const TokenIds tokens = encode_prompt(tokenizer_of(question.at("file")), one.get<std::string>(),
                                                      word.get<std::string>(), spec);
                all.push_back({{"ids", tokens.ids}, {"truncated", tokens.truncated}});
            }
        }
        return all;
    };
    answers["encode_bytes"] = [](const Json& question) -> Json {
        const auto bytes = question.at("bytes").get<std::vector<unsigned char>>();
        return tokenizer_of(question.at("file")).encode(std::string(bytes.begin(), bytes.end()));
    };
    answers["change"] = [](const Json& question) -> Json {
        Json all = Json::array();
        for (const auto& text : question.at("texts")) {
            all.push_back(encode_utf8(changed(question.at("how"), characters_of(text))));
        }
        return all;
    };
    answers["clean_classes"] = [](const Json& question) -> Json {
        const auto classes = question.at("classes").get<std::vector<std::string>>();
        Prompts prompts;
        for (const auto& [name, words] : question.at("prompts").items()) {
            prompts[name] = words.get<std::vector<std::string>>();
        }
        const Asked asked = clean_classes(classes, prompts);
        return {{"classes", asked.classes}, {"prompts", asked.prompts}, {"notes", asked.notes}};
    };
    answers["final_sigmas"] = [](const Json& question) -> Json {
        Json all = Json::array();
        for (const auto& text : question.at("texts")) {
            all.push_back(with_final_sigmas(text.get<std::string>()));
        }
        return all;
    };
    answers["kinds"] = [](const Json& question) -> Json {
        std::vector<int> all;
        for (const char32_t one : characters_of(question.at("text"))) {
            all.push_back(static_cast<int>(kind_of(one)) + 4 * static_cast<int>(is_invisible(one)));
        }
        return all;
    };
}

}  // namespace clsclip::parts
