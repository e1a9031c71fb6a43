/// How far a model can be trusted, from what its manifest says of its training and validation.
#pragma once

#include <optional>
#include <string>

#include "json.hpp"

namespace clsclip {

/// A note for results of a model that nobody validated, or that stands on random towers; none for others. The document's
/// form alone was checked.
[[nodiscard]] std::optional<std::string> doubt_of(const Json& manifest);

}  // namespace clsclip
