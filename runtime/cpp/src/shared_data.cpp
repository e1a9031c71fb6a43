#include "shared_data.hpp"

#include "clsclip_data.hpp"

namespace clsclip {

const Json& formats() {
    static const Json document = parse_json(kFormatsJson);
    return document;
}

const Json& synonyms() {
    static const Json document = parse_json(kSynonymsJson);
    return document;
}

const Json& graph_rules() {
    static const Json document = parse_json(kGraphRulesJson);
    return document;
}

std::vector<std::string_view> texts_at(const Json& document, const char* pointer) {
    std::vector<std::string_view> texts;
    for (const Json& one : document.at(Json::json_pointer(pointer))) {
        texts.emplace_back(one.get_ref<const std::string&>());
    }
    return texts;
}

}  // namespace clsclip
