#include "text/normalizer.hpp"

#include "errors.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

std::u32string replace_spaces(std::u32string_view text, const std::u32string& content) {
    std::u32string out;
    bool in_space = false;
    for (const char32_t one : text) {
        const bool is_space = kind_of(one) == CharacterKind::space;
        if (!is_space) {
            out += one;
        } else if (!in_space) {
            out += content;
            check_grown(out.size());
        }
        in_space = is_space;
    }
    return out;
}

std::u32string replace_text(std::u32string_view text, const std::u32string& pattern, const std::u32string& content) {
    std::u32string out;
    std::size_t from = 0;
    for (std::size_t at = text.find(pattern); at != std::u32string_view::npos; at = text.find(pattern, from)) {
        out += text.substr(from, at - from);
        out += content;
        check_grown(out.size());
        from = at + pattern.size();
    }
    return out += text.substr(from);
}

std::u32string after(const NormalizerStep& step, std::u32string_view text) {
    switch (step.kind) {
        case NormalizerStep::Kind::nfc: return nfc(text);
        case NormalizerStep::Kind::lower: return to_lower(text);
        case NormalizerStep::Kind::replace_spaces: return replace_spaces(text, step.content);
        case NormalizerStep::Kind::replace_text: return replace_text(text, step.pattern, step.content);
    }
    return std::u32string(text);
}

}  // namespace

void check_grown(std::size_t characters) {
    if (characters > std::size_t{1} << 24) {
        fail<BundleError>("the tokenizer's steps make a short text endless. Export the bundle again");
    }
}

std::u32string normalize(const Normalizer& normalizer, std::u32string_view text) {
    std::u32string changed(text);
    for (const NormalizerStep& step : normalizer) {
        changed = after(step, changed);
    }
    return changed;
}

}  // namespace clsclip
