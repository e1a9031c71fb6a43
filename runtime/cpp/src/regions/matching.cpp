#include "regions/matching.hpp"

#include <algorithm>

namespace clsclip {

bool searches(const Proposals& proposals, const MatchedClasses& matched, std::size_t box, std::size_t word) {
    const int of_box = proposals.classes[box];
    const std::vector<int>& own = matched[word];
    return of_box == kAny || std::find(own.begin(), own.end(), of_box) != own.end();
}

}  // namespace clsclip
