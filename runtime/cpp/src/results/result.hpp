/// What a Result holds.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"
#include "masks/cleaning.hpp"
#include "results/pairs.hpp"

namespace clsclip {

struct Result::State {
    std::vector<std::string> classes;
    std::vector<std::vector<std::string>> prompts;  ///< (K) the words that each was searched by
    int width = 0, height = 0;  ///< of the image, pixels
    std::vector<float> presence;  ///< (K), NaN where it was not asked
    std::optional<double> presence_threshold;
    std::optional<std::size_t> max_classes;
    double mask_threshold = 0.5;  ///< of the request, or the model
    Cleaning cleaning;            ///< what is done to masks
    std::vector<bool> segmented, filtered, in_regions, in_whole, in_tiles;
    std::vector<std::string> reasons;  ///< (K), why a class was not segmented; else empty
    std::vector<Instance> instances;   ///< in the order of the classes
    std::vector<std::vector<std::size_t>> parts;  ///< of every instance its pairs: one for each prompt and tile
    std::vector<Pair> pairs;                      ///< (P), as they were found
    std::vector<float> logits;                    ///< (P, h, w)
    std::map<std::size_t, std::vector<float>> strongest;  ///< of instances of several parts, the strongest logits
    int logits_height = 0, logits_width = 0;
    std::vector<ClassMatch> matches;
    std::optional<std::size_t> region_count;  ///< boxes that were given or detected; none for whole-image results
    std::string region_source;
    std::vector<std::string> notes;
    std::vector<Timing> timings;
    std::string model, backend;
    std::vector<std::string> backend_notes;

    /// Take what was found; its pairs become instances.
    void take(Findings&& found);
    /// OptionError unless there is a class at this position.
    void check_class(std::size_t at) const;
    /// The mask of an instance in its window, cleaned.
    [[nodiscard]] Mask window_mask(std::size_t instance) const;
    /// Say why nothing is left of classes that had pixels before their masks were cleaned.
    void explain_cleaned();
    /// OptionError unless there is an instance at this position.
    void check_instance(std::size_t at) const;
    [[nodiscard]] std::span<const float> logits_of(std::size_t pair) const;
    /// Paste the masks of all parts of an instance, its window at (left, top) of the pixels.
    void paste(std::size_t instance, int left, int top, std::uint8_t* pixels, std::ptrdiff_t stride) const;
};

}  // namespace clsclip
