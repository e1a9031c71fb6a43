/// Boxes where things may be, from a detector or a person, before any word is asked.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// The class of a box that may be anything: every word is asked of it.
inline constexpr int kAny = -1;

/// Boxes of one picture.
struct Proposals {
    std::vector<Box> boxes;          ///< any numbers, also outside the picture
    std::vector<float> scores;       ///< 0..1
    std::vector<int> classes;        ///< positions in names, or kAny
    std::vector<std::string> names;  ///< what the source calls its classes
    std::string source;              ///< where the boxes come from, for people
    std::vector<std::string> notes{};  ///< about boxes that were left out, for the user

    /// Proposals of a person's own boxes. OptionError: a score makes no sense.
    [[nodiscard]] static Proposals from_boxes(std::span<const GivenBox> given, int width, int height);

    /// Forget the classes: every word is asked of each box.
    void forget_names();
};

}  // namespace clsclip
