#include "inference/refinement.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "errors.hpp"
#include "masks/refinement.hpp"

namespace clsclip {

namespace {

constexpr int kLongestSide = 512;  ///< of the guide of a whole picture, so that time and memory of a class are bounded
constexpr int kRegionSide = 256;   ///< of the guides of a picture with regions
/// Logit, beside the one that a pixel must exceed, where a class was searched and no crop of it segmented.
constexpr double kNowhere = -4.0;

using Rows = std::vector<std::size_t>;

/// A side at most as long as the longer one of the picture allows. Half goes to even, the processor's own rounding.
std::pair<int, int> fitting(int width, int height) {
    const double scale = std::min(1.0, static_cast<double>(kLongestSide) / std::max(width, height));
    const auto side = [scale](int old) { return std::max(1, static_cast<int>(std::nearbyint(old * scale))); };
    return {side(width), side(height)};
}

/// Centers of `count` equal parts between two edges.
std::vector<double> centers(int low, int high, int count) {
    std::vector<double> found;
    for (int at = 0; at < count; ++at) {
        found.push_back(low + (at + 0.5) * (static_cast<double>(high - low) / count));
    }
    return found;
}

/// Where along `count` values, which fill the length between two edges, places lie.
AxisPlaces between(int count, std::span<const double> places, int low, int high) {
    AxisPlaces found;
    for (const double place : places) {
        const double share = (place - low) / (high - low);
        const double at = std::clamp(share * count - 0.5, 0.0, static_cast<double>(count - 1));
        const double before = std::floor(at);
        found.low.push_back(static_cast<std::size_t>(before));
        found.part.push_back(at - before);
    }
    return found;
}

/// Takes the logits of one picture's findings.
class Refiner {
public:
    Refiner(const Findings& found, const ImageRequest& image, std::pair<int, int> logits_size)
        : found_(found), image_(image), height_(logits_size.first), width_(logits_size.second) {}

    /// Pairs that make one map each, of those that have a pixel at all: regions by their boxes first.
    [[nodiscard]] std::vector<Rows> groups() const {
        Rows regions;
        std::map<std::size_t, Rows> whole;
        for (std::size_t at = 0; at < found_.pairs.size(); ++at) {
            const auto own = logits_of(at);
            if (!own.empty() && *std::max_element(own.begin(), own.end()) > found_.pairs[at].mask_logit) {
                const Pair& pair = found_.pairs[at];
                (pair.box == kWhole ? whole[pair.class_index] : regions).push_back(at);
            }
        }
        std::stable_sort(regions.begin(), regions.end(), [this](std::size_t one, std::size_t other) {
            return found_.pairs[one].box < found_.pairs[other].box;
        });
        std::vector<Rows> all;
        for (const std::size_t at : regions) {
            all.push_back({at});
        }
        for (auto& [unused, rows] : whole) {
            all.push_back(std::move(rows));
        }
        return all;
    }

    /// The strongest logit of the pairs at every place of a window, beside what each must exceed.
    [[nodiscard]] Map joined(const Rows& group, const Window& window, int width, int height) const {
        const std::vector<double> columns = centers(window.left, window.right, width);
        const std::vector<double> rows = centers(window.top, window.bottom, height);
        Map made(width, height, kNowhere);
        for (const std::size_t at : group) {
            const Pair& pair = found_.pairs[at];
            const auto part_of = [](const std::vector<double>& places, int low, int high) {
                const auto begin = std::lower_bound(places.begin(), places.end(), low);
                const auto end = std::lower_bound(places.begin(), places.end(), high);
                return std::pair(static_cast<std::size_t>(begin - places.begin()),
                                 static_cast<std::size_t>(end - places.begin()));
            };
            const auto [left, right] = part_of(columns, pair.window.left, pair.window.right);
            const auto [top, bottom] = part_of(rows, pair.window.top, pair.window.bottom);
            Map own(width_, height_);
            std::copy_n(logits_of(at).begin(), own.values.size(), own.values.begin());
            const Map values = bilinear(
                own, between(height_, std::span(rows).subspan(top, bottom - top), pair.window.top, pair.window.bottom),
                between(width_, std::span(columns).subspan(left, right - left), pair.window.left, pair.window.right));
            auto value = values.values.begin();
            for (std::size_t y = top; y < bottom; ++y) {
                double* line = made.values.data() + y * static_cast<std::size_t>(width);
                for (std::size_t x = left; x < right; ++x) {
                    line[x] = std::max(line[x], *value++ - static_cast<double>(pair.mask_logit));
                }
            }
        }
        return made;
    }

private:
    [[nodiscard]] std::span<const float> logits_of(std::size_t pair) const {
        const std::size_t size = static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_);
        return std::span(found_.logits).subspan(pair * size, size);
    }

    const Findings& found_;
    const ImageRequest& image_;
    int height_, width_;
};

}  // namespace

std::pair<int, int> refine(Findings& found, const ImageRequest& image, std::pair<int, int> logits_size, float mask_logit,
                           const Limits& limits) {
    const Window whole = image.whole();
    const auto [width, height] = image.proposals ? std::pair(kRegionSide, kRegionSide)
                                                 : fitting(whole.width(), whole.height());
    const Refiner refiner(found, image, logits_size);
    const std::vector<Rows> groups = refiner.groups();
    const std::size_t size = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    if (4 * size * groups.size() > limits.result_mb << 20) {
        fail<OptionError>("the refined logits of ", groups.size(), " classes or regions would take ",
                          (4 * size * groups.size()) >> 20, " MiB, and results may hold ", limits.result_mb,
                          " (result_mb). Ask fewer classes at a time, or leave refine out, or raise result_mb");
    }
    std::vector<Pair> pairs;
    std::vector<float> logits;
    logits.reserve(size * groups.size());
    std::unique_ptr<GuidedFilter> of_whole, of_region;  // regions come one by one, those of one box together
    Window region;
    for (const Rows& group : groups) {
        Pair pair = found.pairs[group.front()];
        if (pair.box == kWhole) {
            pair.window = pair.limit = whole;
        }
        std::unique_ptr<GuidedFilter>& filter = pair.window == whole ? of_whole : of_region;
        if (filter == nullptr || (pair.window != whole && pair.window != region)) {
            region = pair.window;
            filter = std::make_unique<GuidedFilter>(image.image, pair.window, width, height);
        }
        const Map joined = refiner.joined(group, pair.window, filter->coarse_width(), filter->coarse_height());
        for (const float value : (*filter)(joined)) {
            logits.push_back(value + mask_logit);
        }
        for (const std::size_t at : group) {
            if (const auto& presence = found.pairs[at].presence) {
                pair.presence = std::max(pair.presence.value_or(0.0F), *presence);
            }
        }
        pair.mask_logit = mask_logit;
        pairs.push_back(std::move(pair));
    }
    found.pairs = std::move(pairs);
    found.logits = std::move(logits);
    return {height, width};
}

}  // namespace clsclip
