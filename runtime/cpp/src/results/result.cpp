#include "results/result.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "errors.hpp"
#include "masks/rle.hpp"
#include "masks/upsampling.hpp"
#include "text/words.hpp"

namespace clsclip {

namespace {

Box cut_at_edges(const Box& box, int width, int height) {
    const auto limit = [](float value, int most) { return std::clamp(value, 0.0F, static_cast<float>(most)); };
    return {limit(box.left, width), limit(box.top, height), limit(box.right, width), limit(box.bottom, height)};
}

Instance instance_of(const Pair& pair, const std::optional<Proposals>& proposals, int width, int height) {
    Instance instance;
    instance.class_index = pair.class_index;
    instance.window = pair.window;
    instance.presence = pair.presence;
    instance.score = pair.presence.value_or(1.0F);
    instance.whole_image = pair.box == kWhole;
    instance.box = {0, 0, static_cast<float>(width), static_cast<float>(height)};
    if (!instance.whole_image && proposals) {
        const auto box = static_cast<std::size_t>(pair.box);
        instance.box = cut_at_edges(proposals->boxes[box], width, height);
        const int of_class = proposals->classes[box];
        instance.score = proposals->scores[box];
        if (of_class == kAny) {
            instance.score *= pair.presence.value_or(1.0F);
        } else {
            instance.name = proposals->names[static_cast<std::size_t>(of_class)];
        }
    }
    return instance;
}

/// The pixels of a mask that are 1, as a window around them; none where there are none.
std::optional<Window> box_of(const Mask& mask) {
    Window box{mask.width, mask.height, 0, 0};
    for (int y = 0; y < mask.height; ++y) {
        const auto row = mask.row(y);
        const auto first = std::find(row.begin(), row.end(), 1);
        if (first != row.end()) {
            const auto last = std::find(row.rbegin(), row.rend(), 1);
            box.left = std::min(box.left, static_cast<int>(first - row.begin()));
            box.right = std::max(box.right, static_cast<int>(row.rend() - last));
            box.top = std::min(box.top, y);
            box.bottom = y + 1;
        }
    }
    return box.bottom == 0 ? std::nullopt : std::optional(box);
}

std::int64_t count_pixels(const Mask& mask) {
    return std::accumulate(mask.pixels.begin(), mask.pixels.end(), std::int64_t{0});
}

/// A class's name as it was typed, cleaned; as it is where it cannot be a class.
std::string as_typed(std::string_view name) {
    try {
        return clean_word(name);
    } catch (const WordError&) {
        return std::string(name);
    }
}

Status status_of(const Result::State& state, std::size_t at, bool has_pixels) {
    if (state.segmented[at]) {
        return has_pixels ? Status::found : Status::empty;
    }
    return state.filtered[at] ? Status::filtered : Status::absent;
}

/// Why a class was not segmented.
std::string reason_of(const Result::State& state, std::size_t at) {
    if (state.segmented[at]) {
        return "";
    }
    if (state.filtered[at]) {
        return text_of("outside the top ", *state.max_classes);
    }
    const bool searched = state.in_regions[at] || state.in_whole[at] || state.in_tiles[at];
    if (!searched || !state.presence_threshold) {
        return "no region";
    }
    char text[40];
    std::snprintf(text, sizeof text, "presence below %.2f", *state.presence_threshold);
    return text;
}

}  // namespace

std::string_view to_string(Status status) noexcept {
    switch (status) {
        case Status::found: return "found";
        case Status::empty: return "empty";
        case Status::filtered: return "filtered";
        case Status::absent: return "absent";
    }
    return "";
}

void Result::State::take(Findings&& found) {
    presence = std::move(found.presence);
    segmented = std::move(found.segmented);
    filtered = std::move(found.filtered);
    in_regions = std::move(found.in_regions);
    in_whole = std::move(found.in_whole);
    in_tiles = std::move(found.in_tiles);
    logits = std::move(found.logits);
    std::vector<std::size_t> order(found.pairs.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&found](std::size_t one, std::size_t other) {
        return found.pairs[one].class_index < found.pairs[other].class_index;
    });
    // What the prompts of a class find in one window is one instance, as likely as the likeliest of them; and so is what is
    // found in the whole image and in its tiles.
    using Place = std::tuple<std::size_t, std::int64_t, int, int, int, int>;
    std::map<Place, std::size_t> known;
    std::vector<Pair> likeliest;
    for (const std::size_t at : order) {
        const Pair& pair = found.pairs[at];
        const Window window = pair.box == kWhole ? Window{0, 0, width, height} : pair.window;
        const Place place{pair.class_index, pair.box, window.left, window.top, window.right, window.bottom};
        const auto [one, is_new] = known.try_emplace(place, likeliest.size());
        if (is_new) {
            likeliest.push_back(pair);
            likeliest.back().window = window;
            parts.emplace_back();
        } else if (pair.presence) {
            Pair& before = likeliest[one->second];
            before.presence = std::max(before.presence.value_or(0.0F), *pair.presence);
        }
        parts[one->second].push_back(at);
    }
    for (const Pair& pair : likeliest) {
        instances.push_back(instance_of(pair, found.proposals, width, height));
    }
    pairs = std::move(found.pairs);
    for (std::size_t at = 0; at < parts.size(); ++at) {
        const bool one_window = std::all_of(parts[at].begin(), parts[at].end(), [&](std::size_t pair) {
            return pairs[pair].window == instances[at].window;
        });
        if (parts[at].size() == 1 || !one_window) {
            continue;
        }
        const auto first = logits_of(parts[at][0]);
        std::vector<float>& most = strongest.try_emplace(at, first.begin(), first.end()).first->second;
        for (const std::size_t pair : parts[at]) {
            std::transform(most.begin(), most.end(), logits_of(pair).begin(), most.begin(),
                           [](float one, float other) { return std::max(one, other); });
        }
    }
    if (found.proposals) {
        region_count = found.proposals->boxes.size();
        region_source = found.proposals->source;
    }
    for (std::size_t at = 0; at < classes.size(); ++at) {
        reasons.push_back(reason_of(*this, at));
    }
    if (cleaning.any()) {
        explain_cleaned();
    }
}

Mask Result::State::window_mask(std::size_t instance) const {
    const Window& window = instances[instance].window;
    Mask mask{window.width(), window.height(), {}};
    mask.pixels.resize(static_cast<std::size_t>(mask.width) * static_cast<std::size_t>(mask.height));
    paste(instance, 0, 0, mask.pixels.data(), mask.width);
    if (cleaning.any()) {
        cleaning.apply(mask);
    }
    return mask;
}

void Result::State::explain_cleaned() {
    for (std::size_t at = 0; at < classes.size(); ++at) {
        Mask before{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * static_cast<std::size_t>(height))};
        bool is_left = false;
        for (std::size_t one = 0; one < instances.size() && !is_left; ++one) {
            if (instances[one].class_index == at) {
                is_left = count_pixels(window_mask(one)) > 0;
                paste(one, instances[one].window.left, instances[one].window.top, before.pixels.data(), width);
            }
        }
        if (const std::int64_t area = is_left ? 0 : count_pixels(before); area > 0) {
            reasons[at] = text_of("no part of ", cleaning.min_area, " pixels, ", area, " in all");
        }
    }
}

void Result::State::check_class(std::size_t at) const {
    if (at >= classes.size()) {
        fail<OptionError>("there is no class number ", at, ": ", classes.size(), " were asked, counted from 0");
    }
}

void Result::State::check_instance(std::size_t at) const {
    if (at >= instances.size()) {
        fail<OptionError>("there is no instance number ", at, ": there are ", instances.size(), ", counted from 0");
    }
}

std::span<const float> Result::State::logits_of(std::size_t pair) const {
    const std::size_t size = static_cast<std::size_t>(logits_height) * static_cast<std::size_t>(logits_width);
    return std::span(logits).subspan(pair * size, size);
}

void Result::State::paste(std::size_t instance, int left, int top, std::uint8_t* pixels, std::ptrdiff_t stride) const {
    const auto moved = [&](Window window) {
        const Window& own = instances[instance].window;
        return Window{window.left - own.left + left, window.top - own.top + top, window.right - own.left + left,
                      window.bottom - own.top + top};
    };
    for (const std::size_t pair : parts[instance]) {
        paste_mask(logits_of(pair), logits_height, logits_width, pairs[pair].mask_logit, moved(pairs[pair].window),
                   moved(pairs[pair].limit), pixels, stride);
    }
}

Result::Result(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Result::Result(Result&&) noexcept = default;
Result& Result::operator=(Result&&) noexcept = default;
Result::~Result() = default;

std::span<const std::string> Result::classes() const noexcept { return state_->classes; }
int Result::width() const noexcept { return state_->width; }
int Result::height() const noexcept { return state_->height; }
std::optional<double> Result::presence_threshold() const noexcept { return state_->presence_threshold; }
std::optional<std::size_t> Result::max_classes() const noexcept { return state_->max_classes; }
double Result::mask_threshold() const noexcept { return state_->mask_threshold; }
std::span<const Instance> Result::instances() const noexcept { return state_->instances; }
std::span<const ClassMatch> Result::matches() const noexcept { return state_->matches; }
std::optional<std::size_t> Result::region_count() const noexcept { return state_->region_count; }
const std::string& Result::region_source() const noexcept { return state_->region_source; }
std::pair<int, int> Result::logits_size() const noexcept { return {state_->logits_height, state_->logits_width}; }
std::span<const std::string> Result::notes() const noexcept { return state_->notes; }
std::span<const Timing> Result::timings() const noexcept { return state_->timings; }
const std::string& Result::model() const noexcept { return state_->model; }
const std::string& Result::backend() const noexcept { return state_->backend; }
std::span<const std::string> Result::backend_notes() const noexcept { return state_->backend_notes; }

std::size_t Result::index(std::string_view name) const {
    const auto& names = state_->classes;
    auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
        found = std::find(names.begin(), names.end(), as_typed(name));
    }
    if (found == names.end()) {
        fail<OptionError>("'", name, "' was not asked. The classes are: ", joined(names));
    }
    return static_cast<std::size_t>(found - names.begin());
}

ClassResult Result::operator[](std::size_t at) const {
    const Mask own = mask(at);
    const std::int64_t area = count_pixels(own);
    return {state_->classes[at], state_->prompts[at], status_of(*state_, at, area > 0), state_->reasons[at], presence(at), area,
            box_of(own), searched(at)};
}

Status Result::status(std::size_t at) const {
    state_->check_class(at);
    return status_of(*state_, at, state_->segmented[at] && area(at) > 0);
}

const std::string& Result::reason(std::size_t at) const {
    state_->check_class(at);
    return state_->reasons[at];
}

std::optional<float> Result::presence(std::size_t at) const {
    state_->check_class(at);
    return std::isnan(state_->presence[at]) ? std::nullopt : std::optional(state_->presence[at]);
}

std::vector<std::string_view> Result::searched(std::size_t at) const {
    state_->check_class(at);
    std::vector<std::string_view> places;
    if (state_->in_regions[at]) {
        places.emplace_back("regions");
    }
    if (state_->in_whole[at]) {
        places.emplace_back("whole-image");
    }
    if (state_->in_tiles[at]) {
        places.emplace_back("tiles");
    }
    return places;
}

Mask Result::mask(std::size_t at) const {
    Mask mask{width(), height(), {}};
    mask.pixels.resize(static_cast<std::size_t>(mask.width) * static_cast<std::size_t>(mask.height));
    mask_to(at, mask.pixels.data(), mask.width);
    return mask;
}

void Result::mask_to(std::size_t at, std::uint8_t* pixels, std::ptrdiff_t stride) const {
    state_->check_class(at);
    if (pixels == nullptr || (stride < width() && stride > -std::ptrdiff_t{width()})) {
        fail<OptionError>("a mask of ", width(), "x", height(), " pixels needs rows of ", width(),
                          " bytes or more, and the stride is ", stride);
    }
    for (int y = 0; y < height(); ++y) {
        std::fill_n(pixels + y * stride, width(), std::uint8_t{0});
    }
    for (std::size_t one = 0; one < state_->instances.size(); ++one) {
        const Instance& own = state_->instances[one];
        if (own.class_index != at) {
            continue;
        }
        if (!state_->cleaning.any()) {
            state_->paste(one, own.window.left, own.window.top, pixels, stride);
            continue;
        }
        const Mask cleaned = state_->window_mask(one);
        for (int y = 0; y < cleaned.height; ++y) {
            std::uint8_t* row = pixels + (own.window.top + y) * stride + own.window.left;
            const auto added = cleaned.row(y);
            std::transform(added.begin(), added.end(), row, row, [](std::uint8_t a, std::uint8_t b) {
                return static_cast<std::uint8_t>(a | b);
            });
        }
    }
}

std::int64_t Result::area(std::size_t at) const { return count_pixels(mask(at)); }

RleMask Result::rle(std::size_t at) const {
    const Mask mask = this->mask(at);
    return {mask.height, mask.width, encode_rle(mask)};
}

Mask Result::instance_mask(std::size_t at) const {
    state_->check_instance(at);
    return state_->window_mask(at);
}

std::span<const float> Result::instance_logits(std::size_t at) const {
    state_->check_instance(at);
    if (const auto several = state_->strongest.find(at); several != state_->strongest.end()) {
        return several->second;
    }
    const std::vector<std::size_t>& own = state_->parts[at];
    if (own.size() > 1 || state_->pairs[own[0]].window != state_->instances[at].window) {
        fail<OptionError>("what was found in tiles has no logits of the whole image. Ask without tiles, or with refine");
    }
    return state_->logits_of(own[0]);
}

}  // namespace clsclip
