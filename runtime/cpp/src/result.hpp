/// What a Result holds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"
#include "looking.hpp"

namespace clsclip {

struct Result::State {
    std::vector<std::string> words;
    int width = 0, height = 0;  ///< of the picture, pixels
    std::vector<float> presence;
    std::optional<double> presence_threshold;
    std::vector<bool> segmented, in_regions, in_whole;
    std::vector<Region> regions;     ///< in the order of the words
    std::vector<Window> limits;      ///< of every region, where in its window the mask may be
    std::vector<float> cuts;         ///< of every region, the logit that a pixel must exceed
    std::vector<std::size_t> order;  ///< of every region, where its logits are
    std::vector<float> logits;       ///< (P, h, w)
    int logits_height = 0, logits_width = 0;
    std::vector<WordMatch> matches;
    std::vector<std::string> notes;
    std::vector<Timing> timings;
    std::string model, backend;

    /// Take what a look found; `look.pairs` become regions.
    void take(Look&& look);
    /// OptionError unless there is a word of this number.
    void check_word(std::size_t word) const;
    [[nodiscard]] std::span<const float> logits_of(std::size_t region) const;
};

}  // namespace clsclip
