/// Connected parts of masks: leaving out small parts, filling holes. Python's masks/cleaning.py does the same.
#pragma once

#include <cstdint>
#include <string>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// What is done to every mask: first holes are filled, then parts are left out.
struct Cleaning {
    std::int64_t min_area = 0;  ///< parts with fewer pixels are left out
    bool largest = false;       ///< only the largest part is kept; of equal ones the first from the top, then from the left
    bool fill_holes = false;

    [[nodiscard]] bool any() const noexcept { return min_area > 1 || largest || fill_holes; }
    /// "holes filled, parts below 50 pixels left out, the largest part alone kept".
    [[nodiscard]] std::string text() const;
    /// Clean a mask, or the part of one outside of which nothing is.
    void apply(Mask& mask) const;
};

}  // namespace clsclip
