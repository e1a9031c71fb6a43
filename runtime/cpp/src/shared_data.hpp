/// What the Python runtime knows from the same files: versions and values of the formats, words for things.
#pragma once

#include <string_view>
#include <vector>

#include "json.hpp"

namespace clsclip {

/// The document of formats.json.
[[nodiscard]] const Json& formats();

/// The document of synonyms.json.
[[nodiscard]] const Json& synonyms();

/// The document of graph_rules.json.
[[nodiscard]] const Json& graph_rules();

/// A list of texts of a document, at a JSON pointer such as "/detector/output_formats".
[[nodiscard]] std::vector<std::string_view> texts_at(const Json& document, const char* pointer);

}  // namespace clsclip
