#include "text/tokenizer.hpp"

#include "text/mending.hpp"
#include <algorithm>

#include "errors.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

/// Calls `token` with the id of every added token in a text, and `rest` with what lies between them: leftmost first,
/// and of those that begin together the longest.
template <class Added, class Token, class Rest>
void split_at(const std::vector<Added>& added, std::u32string_view text, Token token, Rest rest) {
    std::size_t from = 0;
    for (std::size_t at = 0; at < text.size();) {
        const auto found = std::find_if(added.begin(), added.end(),
                                        [&](const Added& one) { return text.substr(at).starts_with(one.text); });
        if (found == added.end()) {
            ++at;
            continue;
        }
        rest(text.substr(from, at - from));
        token(found->id);
        from = at += found->text.size();
    }
    rest(text.substr(from));
}

}  // namespace

std::vector<std::int64_t> Tokenizer::encode(std::string_view text) const {
    const auto characters = decode_utf8(text);
    if (!characters) {
        fail<WordError>("a text is not valid UTF-8. Convert it first");
    }
    std::vector<std::int64_t> ids = start_;
    encode_text(*characters, ids);
    ids.insert(ids.end(), end_.begin(), end_.end());
    return ids;
}

TokenIds Tokenizer::encode(std::string_view text, int length, std::int64_t pad_id) const {
    const auto wanted = static_cast<std::size_t>(std::max(length, 0));
    if (start_.size() + end_.size() > wanted) {
        fail<BundleError>("the manifest's context length is ", length, ", and the tokenizer adds ",
                          start_.size() + end_.size(), " tokens to every text. Export the bundle again");
    }
    TokenIds tokens{encode(text), false};
    if (tokens.ids.size() > wanted) {
        tokens.truncated = true;
        tokens.ids.resize(wanted - end_.size());
        tokens.ids.insert(tokens.ids.end(), end_.begin(), end_.end());
    }
    tokens.ids.resize(wanted, pad_id);
    return tokens;
}

void Tokenizer::encode_text(std::u32string_view text, std::vector<std::int64_t>& ids) const {
    const auto token = [&](std::int32_t id) { ids.push_back(id); };
    split_at(added_, text, token, [&](std::u32string_view part) {
        const std::u32string normalized = normalize(normalizer_, part);
        split_at(added_normalized_, normalized, token,
                 [&](std::u32string_view rest) { encode_normalized(rest, ids); });
    });
}

void Tokenizer::encode_normalized(std::u32string_view text, std::vector<std::int64_t>& ids) const {
    for (const std::u32string& word : pre_tokenize(pre_tokenizer_, std::u32string(text))) {
        model_.encode(word, ids);
    }
}

std::string prompt_of(std::string_view template_text, std::string_view word) {
    std::string prompt(template_text);
    const std::size_t at = prompt.find("{}");
    return with_final_sigmas(at == std::string::npos ? prompt : prompt.replace(at, 2, word));
}

TokenIds encode_prompt(const Tokenizer& tokenizer, std::string_view template_text, std::string_view word,
                       const TextSpec& spec) {
    return tokenizer.encode(prompt_of(template_text, word), spec.context_length, spec.pad_token_id);
}

}  // namespace clsclip
