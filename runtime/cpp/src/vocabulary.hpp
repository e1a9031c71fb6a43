/// What the Python runtime knows from the same file: versions of the formats, names that they hold, words for things.
#pragma once

#include <string_view>
#include <vector>

#include "json.hpp"

namespace clsclip {

/// The document of vocabulary.json.
[[nodiscard]] const Json& vocabulary();

/// A list of texts at a JSON pointer of it, such as "/detector/output_formats".
[[nodiscard]] std::vector<std::string_view> known_names(const char* pointer);

}  // namespace clsclip
