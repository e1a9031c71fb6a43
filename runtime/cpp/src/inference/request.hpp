/// What goes into the scheduler: one call, checked, and its images.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "clsclip/clsclip.hpp"
#include "graph.hpp"
#include "inference/presence.hpp"
#include "masks/cleaning.hpp"
#include "regions/matching.hpp"
#include "regions/proposals.hpp"
#include "text/words.hpp"

namespace clsclip {

/// A call: everything that is asked, whatever the image.
struct CallRequest {
    Asked asked;                       ///< the classes, clean
    std::vector<std::string> words;    ///< the prompts of all classes, one class after the other
    std::vector<std::size_t> class_of_word;  ///< of every word, the position of its class
    std::vector<std::string> notes;    ///< sentences for the user
    std::optional<PresenceFilter> filter;  ///< none segments every class
    std::optional<ZoomIn> zoom;            ///< none searches the whole image
    double mask_threshold = 0.5;           ///< the probability that a pixel must exceed
    Cleaning cleaning;                     ///< what is done to masks
    std::optional<TilesSpec> tiles;        ///< the whole image is searched in tiles too; none does not
    bool refine = false;                   ///< give masks the edges of the image
};

/// One image of a call.
struct ImageRequest {
    ImageView image;
    std::shared_ptr<const Tensors> features;  ///< of the whole image, where it was encoded before
    std::optional<Proposals> proposals;       ///< boxes to search; none searches the whole image
    MatchedClasses matched;                   ///< of every word, where there are proposals

    [[nodiscard]] Window whole() const { return {0, 0, image.width, image.height}; }
};

}  // namespace clsclip
