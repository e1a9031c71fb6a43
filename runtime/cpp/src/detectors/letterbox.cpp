#include "detectors/letterbox.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "images/rows.hpp"

namespace clsclip {

namespace {

constexpr std::uint8_t kGray = 114;  ///< of the border, as YOLO is trained with

constexpr float kWhole = 2048;  ///< the shares of two neighbors together, as OpenCV's INTER_LINEAR of bytes has them

/// For a new pixel along a side, the old pixels before and after its center, and their shares.
struct Between {
    int low;
    int high;
    std::int32_t low_share;
    std::int32_t high_share;
};

/// `hold`: pixels beyond the first and last centers are those; OpenCV does so along rows, and rounds along columns.
std::vector<Between> between(int old_side, int new_side, bool hold) {
    std::vector<Between> all;
    const double scale = 1 / (static_cast<double>(new_side) / old_side);
    for (int i = 0; i < new_side; ++i) {
        const auto at = static_cast<float>((i + 0.5) * scale - 0.5);
        const int low = static_cast<int>(std::floor(at));
        const float share = hold && (low < 0 || low >= old_side - 1) ? 0 : at - static_cast<float>(low);
        all.push_back({std::clamp(low, 0, old_side - 1), std::clamp(low + 1, 0, old_side - 1),
                       static_cast<std::int32_t>(std::nearbyint((1 - share) * kWhole)),
                       static_cast<std::int32_t>(std::nearbyint(share * kWhole))});
    }
    return all;
}

/// Rows of a picture as planes; the two that were read last are kept, since neighbours share them.
class RowPair {
public:
    explicit RowPair(const ImageView& image)
        : image_(image), planes_(planes_of(image.format)), size_(static_cast<std::size_t>(image.width)) {
        for (auto& row : rows_) {
            row.resize(size_ * static_cast<std::size_t>(planes_));
        }
    }

    /// Row y; what the other call gave last stays.
    const std::int16_t* read(int y, std::size_t other) {
        const std::size_t slot = numbers_[0] == y ? 0 : numbers_[1] == y ? 1 : 1 - other;
        if (numbers_[slot] != y) {
            read_row(image_, y, 0, image_.width, rows_[slot].data(), size_);
            numbers_[slot] = y;
        }
        last_ = slot;
        return rows_[slot].data();
    }

    [[nodiscard]] std::size_t last() const noexcept { return last_; }

    /// Channel 0, 1 or 2 (red, green, blue) of a row.
    [[nodiscard]] const std::int16_t* channel(const std::int16_t* row, std::size_t channel) const {
        return planes_ == 1 ? row : row + channel * size_;
    }

private:
    const ImageView& image_;
    int planes_;
    std::size_t size_;
    std::array<std::vector<std::int16_t>, 2> rows_;
    std::array<int, 2> numbers_{-1, -1};
    std::size_t last_ = 0;
};

/// One row of a channel between two old ones. Bit for bit OpenCV's, which drops 4 bits before and 16 after a product.
void mix(const std::int16_t* low, const std::int16_t* high, const Between& row, const std::vector<Between>& columns,
         const std::array<float, 256>& value_of, float* out) {
    const auto along = [](const std::int16_t* old, const Between& at) {
        return (old[at.low] * at.low_share + old[at.high] * at.high_share) >> 4;
    };
    for (std::size_t x = 0; x < columns.size(); ++x) {
        const Between& at = columns[x];
        const std::int32_t mixed = ((along(low, at) * row.low_share) >> 16) + ((along(high, at) * row.high_share) >> 16);
        out[x] = value_of[static_cast<std::size_t>((mixed + 2) >> 2)];
    }
}

int fitted(double side, const std::string& place, int most) {
    // As ultralytics rounds, to even where it is between two; YOLOX cuts off.
    const double whole = place == "center" ? std::nearbyint(side) : std::trunc(side);
    return std::min(most, std::max(1, static_cast<int>(whole)));
}

}  // namespace

Box Placed::to_picture(const Box& box) const {
    const auto inside = [](float value, int shift, double scale, int limit) {
        const double moved = (static_cast<double>(value) - shift) / scale;
        return static_cast<float>(std::clamp(moved, 0.0, static_cast<double>(limit)));
    };
    return {inside(box.left, left, scale_x, width), inside(box.top, top, scale_y, height),
            inside(box.right, left, scale_x, width), inside(box.bottom, top, scale_y, height)};
}

Placed letterbox(const ImageView& image, const DetectorSpec& spec, float* values) {
    check_image(image);
    const double scale = std::min(static_cast<double>(spec.height) / image.height,
                                  static_cast<double>(spec.width) / image.width);
    const bool stretched = spec.letterbox == "stretch";
    const int width = stretched ? spec.width : fitted(image.width * scale, spec.letterbox, spec.width);
    const int height = stretched ? spec.height : fitted(image.height * scale, spec.letterbox, spec.height);
    Placed placed{static_cast<double>(width) / image.width, static_cast<double>(height) / image.height, 0, 0,
                  image.width, image.height};
    if (spec.letterbox == "center") {
        placed.left = (spec.width - width) / 2;
        placed.top = (spec.height - height) / 2;
    }
    std::array<float, 256> value_of;
    const auto divisor = static_cast<float>(255 / spec.input_scale);
    for (std::size_t value = 0; value < value_of.size(); ++value) {
        value_of[value] = static_cast<float>(value) / divisor;
    }
    const auto wide = static_cast<std::size_t>(spec.width);
    const std::size_t plane = wide * static_cast<std::size_t>(spec.height);
    std::fill_n(values, 3 * plane, value_of[kGray]);
    const std::vector<Between> rows = between(image.height, height, false);
    const std::vector<Between> columns = between(image.width, width, true);
    RowPair pair(image);
    for (std::size_t y = 0; y < rows.size(); ++y) {
        const std::int16_t* low = pair.read(rows[y].low, pair.last());
        const std::int16_t* high = pair.read(rows[y].high, pair.last());
        float* out = values + (static_cast<std::size_t>(placed.top) + y) * wide + placed.left;
        for (std::size_t channel = 0; channel < 3; ++channel) {
            const std::size_t own = spec.channel_order == "bgr" ? 2 - channel : channel;
            mix(pair.channel(low, own), pair.channel(high, own), rows[y], columns, value_of, out + channel * plane);
        }
    }
    return placed;
}

}  // namespace clsclip
