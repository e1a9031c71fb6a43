#include "results/pairs.hpp"

#include <cmath>
#include <limits>
#include <utility>

namespace clsclip {

void Findings::begin(std::size_t classes) {
    presence.assign(classes, std::numeric_limits<float>::quiet_NaN());
    for (auto* flags : {&segmented, &filtered, &in_regions, &in_whole, &in_tiles}) {
        flags->assign(classes, false);
    }
}

void Findings::join(std::span<const std::size_t> class_of_word, std::size_t classes) {
    Findings joined;
    joined.begin(classes);
    for (std::size_t word = 0; word < class_of_word.size(); ++word) {
        const std::size_t at = class_of_word[word];
        joined.presence[at] = std::fmax(joined.presence[at], presence[word]);
        joined.segmented[at] = joined.segmented[at] || segmented[word];
        joined.filtered[at] = joined.filtered[at] || filtered[word];
        joined.in_regions[at] = joined.in_regions[at] || in_regions[word];
        joined.in_whole[at] = joined.in_whole[at] || in_whole[word];
        joined.in_tiles[at] = joined.in_tiles[at] || in_tiles[word];
    }
    for (Pair& pair : pairs) {
        pair.class_index = class_of_word[pair.class_index];
    }
    joined.pairs = std::move(pairs);
    joined.logits = std::move(logits);
    joined.proposals = std::move(proposals);
    joined.far = far;
    *this = std::move(joined);
}

}  // namespace clsclip
