#include "results/pairs.hpp"

#include <limits>

namespace clsclip {

void Findings::begin(std::size_t classes) {
    presence.assign(classes, std::numeric_limits<float>::quiet_NaN());
    for (auto* flags : {&segmented, &filtered, &in_regions, &in_whole}) {
        flags->assign(classes, false);
    }
}

}  // namespace clsclip
