/// Which words are searched in which boxes.
#pragma once

#include <cstddef>
#include <vector>

#include "regions/proposals.hpp"

namespace clsclip {

/// For every word asked, the classes of the proposals that it means, by number.
using MatchedClasses = std::vector<std::vector<int>>;

/// Whether a word is searched in a box: by the box's name, or because the box has none.
[[nodiscard]] bool searches(const Proposals& proposals, const MatchedClasses& matched, std::size_t box,
                            std::size_t word);

}  // namespace clsclip
