/// Fitting a picture into a detector's input, and boxes back into the picture.
#pragma once

#include "bundle/manifest.hpp"
#include "clsclip/clsclip.hpp"

namespace clsclip {

/// Where a picture lies in a detector's input.
struct Placed {
    double scale_x = 1;  ///< input pixels per picture pixel, horizontally
    double scale_y = 1;  ///< the same, vertically; the two differ by rounding only
    int left = 0;        ///< border on the left, input pixels
    int top = 0;         ///< border at the top, input pixels
    int width = 0;       ///< the picture's, pixels
    int height = 0;      ///< the picture's, pixels

    /// A box from input pixels to picture pixels, cut at the picture's edges.
    [[nodiscard]] Box to_picture(const Box& box) const;
};

/// Fit a picture, keeping its shape, into a gray input, and write it as the detector takes it.
///
/// `values` is (3, spec.height, spec.width): bilinear without smoothing, as OpenCV's INTER_LINEAR, channels in the order
/// of spec.colors, white as spec.white. ImageError: the picture is not usable.
Placed letterbox(const ImageView& image, const DetectorSpec& spec, float* values);

}  // namespace clsclip
