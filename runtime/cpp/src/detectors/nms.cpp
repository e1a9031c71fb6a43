#include "detectors/nms.hpp"

#include <algorithm>
#include <numeric>

namespace clsclip {

namespace {

double area(double left, double top, double right, double bottom) {
    return std::max(right - left, 0.0) * std::max(bottom - top, 0.0);
}

double area(const Box& box) { return area(box.left, box.top, box.right, box.bottom); }

double shared(const Box& a, const Box& b) {
    return area(std::max(a.left, b.left), std::max(a.top, b.top), std::min(a.right, b.right),
                std::min(a.bottom, b.bottom));
}

}  // namespace

std::vector<std::size_t> surest(std::span<const float> scores, std::size_t most) {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    order.resize(std::min(order.size(), most));
    return order;
}

std::vector<std::size_t> keep_best(std::span<const Box> boxes, std::span<const float> scores,
                                   std::span<const int> classes, double iou, std::size_t most) {
    std::vector<std::size_t> kept;
    // A box is compared with those that stay, which are few, and not with all.
    for (const std::size_t at : surest(scores, kMostCandidates)) {
        if (kept.size() >= most) {
            break;
        }
        const double own = area(boxes[at]);
        const bool covered = std::any_of(kept.begin(), kept.end(), [&](std::size_t surer) {
            if (classes[surer] != classes[at]) {
                return false;
            }
            const double both = shared(boxes[surer], boxes[at]);
            return both > iou * (area(boxes[surer]) + own - both);
        });
        if (!covered) {
            kept.push_back(at);
        }
    }
    return kept;
}

}  // namespace clsclip
