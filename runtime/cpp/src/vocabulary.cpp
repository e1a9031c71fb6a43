#include "vocabulary.hpp"

#include "clsclip_data.hpp"

namespace clsclip {

const Json& vocabulary() {
    static const Json document = parse_json(kVocabularyJson);
    return document;
}

std::vector<std::string_view> known_names(const char* pointer) {
    std::vector<std::string_view> names;
    for (const Json& one : vocabulary().at(Json::json_pointer(pointer))) {
        names.emplace_back(one.get_ref<const std::string&>());
    }
    return names;
}

}  // namespace clsclip
