#include "masks/upsampling.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "errors.hpp"

namespace clsclip {

namespace {

/// Where a new pixel lies between two old ones along one side, and the weights of both.
struct Between {
    std::size_t low;
    std::size_t high;
    float low_weight;
    float high_weight;
};

/// The same grid as PyTorch's `interpolate(..., align_corners=False)`.
std::vector<Between> between(int inputs, int outputs) {
    std::vector<Between> all;
    all.reserve(static_cast<std::size_t>(outputs));
    const double scale = static_cast<double>(inputs) / outputs;
    for (int at = 0; at < outputs; ++at) {
        const double center = std::clamp((at + 0.5) * scale - 0.5, 0.0, static_cast<double>(inputs - 1));
        const double low = std::floor(center);
        const double high = std::min(low + 1, static_cast<double>(inputs - 1));
        const double fraction = center - low;
        all.push_back({static_cast<std::size_t>(low), static_cast<std::size_t>(high), static_cast<float>(1.0 - fraction),
                       static_cast<float>(fraction)});
    }
    return all;
}

/// New pixels begin .. end - 1 lie between the same two old ones.
struct Interval {
    std::size_t begin;
    std::size_t end;
};

/// The new pixels first .. last - 1.
std::vector<Interval> intervals(const std::vector<Between>& columns, int first, int last) {
    std::vector<Interval> all;
    for (auto at = static_cast<std::size_t>(first); at < static_cast<std::size_t>(last); ++at) {
        if (all.empty() || columns[at].low != columns[at - 1].low) {
            all.push_back({at, at});
        }
        all.back().end = at + 1;
    }
    return all;
}

}  // namespace

double logit(double probability) { return std::log(probability) - std::log1p(-probability); }

void paste_mask(std::span<const float> logits, int height, int width, float mask_logit, const Window& window,
                const Window& limit, std::uint8_t* pixels, std::ptrdiff_t stride) {
    if (height < 1 || width < 1 || logits.size() != static_cast<std::size_t>(height) * static_cast<std::size_t>(width)) {
        fail<BackendError>("the model gave ", logits.size(), " logits for a mask of ", width, "x", height,
                           ". Export the bundle again");
    }
    // Interpolation never exceeds its inputs: most words need no work, and most pixels lie between two old ones that are
    // both in the mask, or both not.
    if (!(*std::max_element(logits.begin(), logits.end()) > mask_logit)) {
        return;
    }
    const std::vector<Between> rows = between(height, window.height());
    const std::vector<Between> columns = between(width, window.width());
    const std::vector<Interval> parts = intervals(columns, limit.left - window.left, limit.right - window.left);
    const auto wide = static_cast<std::size_t>(width);
    std::vector<float> line(wide);
    for (int y = limit.top - window.top; y < limit.bottom - window.top; ++y) {
        const Between& row = rows[static_cast<std::size_t>(y)];
        const float* low = logits.data() + row.low * wide;
        const float* high = logits.data() + row.high * wide;
        bool any = false;
        for (std::size_t x = 0; x < wide; ++x) {
            line[x] = row.low_weight * low[x] + row.high_weight * high[x];
            any |= line[x] > mask_logit;
        }
        if (!any) {
            continue;
        }
        std::uint8_t* out = pixels + static_cast<std::ptrdiff_t>(window.top + y) * stride + window.left;
        for (const Interval& part : parts) {
            const float left = line[columns[part.begin].low];
            const float right = line[columns[part.begin].high];
            if (left > mask_logit && right > mask_logit) {
                std::fill(out + part.begin, out + part.end, std::uint8_t{1});
            } else if (left > mask_logit || right > mask_logit) {
                for (std::size_t x = part.begin; x < part.end; ++x) {
                    const float value = columns[x].low_weight * left + columns[x].high_weight * right;
                    out[x] = static_cast<std::uint8_t>(out[x] | static_cast<std::uint8_t>(value > mask_logit));
                }
            }
        }
    }
}

}  // namespace clsclip
