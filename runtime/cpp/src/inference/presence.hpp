/// The presence filter: which pairs of a crop and a class are segmented, decided by presence before the trunk runs.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "clsclip/clsclip.hpp"

namespace clsclip {

/// What a pair must reach to be segmented.
struct PresenceFilter {
    double threshold = 0;                    ///< least presence, 0..1
    std::optional<std::size_t> max_classes{};  ///< most classes of a crop, the likeliest at or above the threshold
    std::optional<double> in_tiles{};          ///< least presence in a tile; none is the threshold
    double least_confidence = 0;  ///< logits of masks that are less sure are lowered, but of named crops

    /// Which of a crop's classes are segmented, and which only max_classes keeps out.
    struct Choice {
        std::vector<bool> chosen, filtered;
    };

    /// `asked`, `presence` and `class_of_word` are of the words of one crop, the prompts of its classes. A class is as
    /// likely as its likeliest word. A crop that is `named` is segmented for all of its words, whose classes take no
    /// place among the max_classes. One that is `tiled` is a part of the image that nobody chose. Of equally likely classes
    /// the first is taken.
    [[nodiscard]] Choice choose(const std::vector<bool>& asked, bool named, bool tiled, std::span<const float> presence,
                                std::span<const std::size_t> class_of_word) const;
};

/// OptionError when a value makes no sense, whatever the bundle.
void check_presence(const std::optional<bool>& presence_filter, const std::optional<double>& presence_threshold,
                    const std::optional<int>& max_classes);

/// The filter of a request, whose missing values come from `options`; none segments every class.
///
/// `trained` is what the bundle states of presence, none for a bundle without it. Sentences for
/// the user are added to `notes`. OptionError: a value makes no sense, contradicts another, or needs presence that the
/// bundle lacks.
[[nodiscard]] std::optional<PresenceFilter> choose_filter(const Request& request, const Options& options,
                                                          const std::optional<PresenceSpec>& trained,
                                                          std::vector<std::string>& notes);

}  // namespace clsclip
