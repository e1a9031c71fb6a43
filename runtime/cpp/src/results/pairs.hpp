/// Pairs of a crop and a class, the unit of work: what a call found in one image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "clsclip/clsclip.hpp"
#include "regions/proposals.hpp"

namespace clsclip {

/// The box of a pair that is the whole image, or a tile of it.
inline constexpr std::int64_t kWhole = -1;

/// One pair that was segmented.
struct Pair {
    std::size_t class_index = 0;  ///< position in the classes asked
    Window window;                ///< the crop
    Window limit;                 ///< the part of it in which the mask may be
    float mask_logit = 0;         ///< the logit that a pixel must exceed
    std::int64_t box = kWhole;    ///< position in the proposals
    std::optional<float> presence;  ///< how likely the crop shows the class; none without a presence filter
};

/// What was found in one image, of K classes.
struct Findings {
    std::vector<float> presence;   ///< (K) highest presence of any crop; NaN where none was searched
    std::vector<bool> segmented;   ///< (K) classes with at least one pair
    std::vector<bool> filtered;    ///< (K) classes that max_classes kept out of a crop
    std::vector<bool> in_regions;  ///< (K) classes that were searched in a region
    std::vector<bool> in_whole;    ///< (K) classes that were searched in the whole image
    std::vector<bool> in_tiles;    ///< (K) classes that were searched in tiles of it
    std::vector<Pair> pairs;
    std::vector<float> logits;  ///< (P, h, w)
    std::optional<Proposals> proposals;  ///< the boxes that were used
    bool far = false;  ///< the whole image was encoded, and is unlike what the model knows

    /// Nothing is searched yet, of K classes or words.
    void begin(std::size_t classes);
    /// What was found of words becomes what was found of `classes` classes; `class_of_word` says whose prompt each is.
    void join(std::span<const std::size_t> class_of_word, std::size_t classes);
};

}  // namespace clsclip
