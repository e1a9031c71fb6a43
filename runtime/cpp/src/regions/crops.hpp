/// From boxes to the windows of a picture that are cropped: margin, smallest side, and the picture's edges.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// A window and the position of the box that it is of.
struct BoxWindow {
    Window window;
    std::size_t box = 0;
};

/// The window of every box that shows a part of the picture: never empty and inside it. Boxes that are not finite, are
/// empty or lie outside have none.
[[nodiscard]] std::vector<BoxWindow> crop_windows(std::span<const Box> boxes, int width, int height,
                                                  const ZoomIn& zoom);

/// The pixels that boxes cover, corners rounded. Boxes that round to nothing have none.
[[nodiscard]] std::vector<BoxWindow> box_windows(std::span<const Box> boxes, int width, int height);

/// Where the mask of a box that shows a part of the picture may be: the box and `margin` around it, as a share of its
/// size, inside its window.
[[nodiscard]] Window mask_limit(const Box& box, const Window& window, int width, int height, double margin);

/// OptionError when a value makes no sense.
void check_zoom(const ZoomIn& zoom);

}  // namespace clsclip
