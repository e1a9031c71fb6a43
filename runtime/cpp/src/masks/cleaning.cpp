#include "masks/cleaning.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace clsclip {

namespace {

/// Pixels of one value side by side.
struct Run {
    int row, start, end;  ///< the column behind the last
};

std::vector<Run> runs_with(const Mask& mask, bool value) {
    std::vector<Run> runs;
    for (int y = 0; y < mask.height; ++y) {
        const auto row = mask.row(y);
        for (int x = 0; x < mask.width;) {
            const int start = x;
            const bool own = row[static_cast<std::size_t>(x)] != 0;
            while (x < mask.width && (row[static_cast<std::size_t>(x)] != 0) == own) {
                ++x;
            }
            if (own == value) {
                runs.push_back({y, start, x});
            }
        }
    }
    return runs;
}

/// Of every run the first run of its connected part; with `corners`, pixels that touch at a corner are connected.
class Parts {
public:
    Parts(const std::vector<Run>& runs, bool corners) : parents_(runs.size()) {
        std::iota(parents_.begin(), parents_.end(), std::size_t{0});
        const int reach = corners ? 1 : 0;
        std::size_t above = 0;
        for (std::size_t at = 0; at < runs.size(); ++at) {
            const Run& run = runs[at];
            while (above < at && (runs[above].row < run.row - 1 ||
                                  (runs[above].row == run.row - 1 && runs[above].end + reach <= run.start))) {
                ++above;
            }
            for (std::size_t one = above; one < at && runs[one].row == run.row - 1 && runs[one].start < run.end + reach;
                 ++one) {
                join(one, at);
            }
        }
    }

    std::size_t operator[](std::size_t run) {
        while (parents_[run] != run) {
            parents_[run] = parents_[parents_[run]];
            run = parents_[run];
        }
        return run;
    }

private:
    void join(std::size_t one, std::size_t other) {
        const std::size_t first = (*this)[one], second = (*this)[other];
        parents_[std::max(first, second)] = std::min(first, second);
    }

    std::vector<std::size_t> parents_;
};

void paint(Mask& mask, const Run& run, std::uint8_t value) {
    const auto begin = mask.pixels.begin() + std::ptrdiff_t{run.row} * mask.width;
    std::fill(begin + run.start, begin + run.end, value);
}

void fill_holes(Mask& mask) {
    const std::vector<Run> outside = runs_with(mask, false);
    Parts parts(outside, false);
    std::vector<bool> leads_out(outside.size(), false);
    for (std::size_t at = 0; at < outside.size(); ++at) {
        const Run& run = outside[at];
        if (run.row == 0 || run.row == mask.height - 1 || run.start == 0 || run.end == mask.width) {
            leads_out[parts[at]] = true;
        }
    }
    for (std::size_t at = 0; at < outside.size(); ++at) {
        if (!leads_out[parts[at]]) {
            paint(mask, outside[at], 1);
        }
    }
}

}  // namespace

std::string Cleaning::text() const {
    std::string done;
    const auto add = [&done](const std::string& one) { done += (done.empty() ? "" : ", ") + one; };
    if (fill_holes) {
        add("holes filled");
    }
    if (min_area > 1) {
        add("parts below " + std::to_string(min_area) + " pixels left out");
    }
    if (largest) {
        add("the largest part alone kept");
    }
    return done;
}

void Cleaning::apply(Mask& mask) const {
    if (fill_holes) {
        clsclip::fill_holes(mask);
    }
    if (!largest && min_area <= 1) {
        return;
    }
    const std::vector<Run> runs = runs_with(mask, true);
    Parts parts(runs, true);
    std::vector<std::int64_t> areas(runs.size(), 0);  // at the first run of every part
    for (std::size_t at = 0; at < runs.size(); ++at) {
        areas[parts[at]] += runs[at].end - runs[at].start;
    }
    const auto most = static_cast<std::size_t>(std::max_element(areas.begin(), areas.end()) - areas.begin());
    for (std::size_t at = 0; at < runs.size(); ++at) {
        const std::size_t part = parts[at];
        if (areas[part] < min_area || (largest && part != most)) {
            paint(mask, runs[at], 0);
        }
    }
}

}  // namespace clsclip
