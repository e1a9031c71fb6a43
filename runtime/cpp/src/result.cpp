#include "result.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "errors.hpp"
#include "masks/masks.hpp"
#include "masks/rle.hpp"

namespace clsclip {

namespace {

Box cut_at_edges(const Box& box, int width, int height) {
    const auto limit = [](float value, int most) { return std::clamp(value, 0.0F, static_cast<float>(most)); };
    return {limit(box.left, width), limit(box.top, height), limit(box.right, width), limit(box.bottom, height)};
}

Region region_of(const Pair& pair, const std::optional<Proposals>& proposals, int width, int height) {
    Region region;
    region.word = pair.word;
    region.window = pair.window;
    region.presence = pair.presence;
    region.score = pair.presence.value_or(1.0F);
    region.whole_image = pair.box == kWhole;
    region.box = {0, 0, static_cast<float>(width), static_cast<float>(height)};
    if (!region.whole_image && proposals) {
        const auto box = static_cast<std::size_t>(pair.box);
        region.box = cut_at_edges(proposals->boxes[box], width, height);
        const int of_class = proposals->classes[box];
        region.score = proposals->scores[box];
        if (of_class == kAny) {
            region.score *= pair.presence.value_or(1.0F);
        } else {
            region.name = proposals->names[static_cast<std::size_t>(of_class)];
        }
    }
    return region;
}

}  // namespace

void Result::State::take(Look&& look) {
    presence = std::move(look.presence);
    segmented = std::move(look.segmented);
    in_regions = std::move(look.in_regions);
    in_whole = std::move(look.in_whole);
    logits = std::move(look.logits);
    order.resize(look.pairs.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&look](std::size_t one, std::size_t other) {
        return look.pairs[one].word < look.pairs[other].word;
    });
    for (const std::size_t at : order) {
        regions.push_back(region_of(look.pairs[at], look.proposals, width, height));
        limits.push_back(look.pairs[at].limit);
        cuts.push_back(look.pairs[at].cut);
    }
}

void Result::State::check_word(std::size_t word) const {
    if (word >= words.size()) {
        fail<OptionError>("there is no word number ", word, ": ", words.size(), " were asked, counted from 0");
    }
}

std::span<const float> Result::State::logits_of(std::size_t region) const {
    const std::size_t size = static_cast<std::size_t>(logits_height) * static_cast<std::size_t>(logits_width);
    return std::span(logits).subspan(order[region] * size, size);
}

Result::Result(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Result::Result(Result&&) noexcept = default;
Result& Result::operator=(Result&&) noexcept = default;
Result::~Result() = default;

std::span<const std::string> Result::words() const noexcept { return state_->words; }
int Result::width() const noexcept { return state_->width; }
int Result::height() const noexcept { return state_->height; }
std::span<const float> Result::presence() const noexcept { return state_->presence; }
std::optional<double> Result::presence_threshold() const noexcept { return state_->presence_threshold; }
std::span<const Region> Result::regions() const noexcept { return state_->regions; }
std::span<const WordMatch> Result::matches() const noexcept { return state_->matches; }
std::span<const std::string> Result::notes() const noexcept { return state_->notes; }
std::span<const Timing> Result::timings() const noexcept { return state_->timings; }
const std::string& Result::model() const noexcept { return state_->model; }
const std::string& Result::backend() const noexcept { return state_->backend; }

bool Result::present(std::size_t word) const {
    state_->check_word(word);
    return state_->segmented[word];
}

std::size_t Result::index(std::string_view word) const {
    const auto& words = state_->words;
    const auto found = std::find(words.begin(), words.end(), word);
    if (found == words.end()) {
        fail<OptionError>("'", word, "' was not asked. The words are: ", joined(words));
    }
    return static_cast<std::size_t>(found - words.begin());
}

Mask Result::mask(std::size_t word) const {
    Mask mask{width(), height(), {}};
    mask.pixels.resize(static_cast<std::size_t>(mask.width) * static_cast<std::size_t>(mask.height));
    mask_to(word, mask.pixels.data(), mask.width);
    return mask;
}

void Result::mask_to(std::size_t word, std::uint8_t* pixels, std::ptrdiff_t stride) const {
    state_->check_word(word);
    if (pixels == nullptr || (stride < width() && stride > -std::ptrdiff_t{width()})) {
        fail<OptionError>("a mask of ", width(), "x", height(), " pixels needs rows of ", width(),
                          " bytes or more, and the stride is ", stride);
    }
    for (int y = 0; y < height(); ++y) {
        std::fill_n(pixels + y * stride, width(), std::uint8_t{0});
    }
    for (std::size_t at = 0; at < state_->regions.size(); ++at) {
        if (state_->regions[at].word == word) {
            paste_mask(state_->logits_of(at), state_->logits_height, state_->logits_width, state_->cuts[at],
                       state_->regions[at].window, state_->limits[at], pixels, stride);
        }
    }
}

std::int64_t Result::area(std::size_t word) const {
    const Mask mask = this->mask(word);
    return std::accumulate(mask.pixels.begin(), mask.pixels.end(), std::int64_t{0});
}

Rle Result::rle(std::size_t word) const {
    const Mask mask = this->mask(word);
    return {mask.height, mask.width, encode_rle(mask)};
}

Mask Result::region_mask(std::size_t region) const {
    const std::span<const float> logits = region_logits(region);
    const Window& window = state_->regions[region].window;
    Mask mask{window.width(), window.height(), {}};
    mask.pixels.resize(static_cast<std::size_t>(mask.width) * static_cast<std::size_t>(mask.height));
    Window limit = state_->limits[region];
    limit = {limit.left - window.left, limit.top - window.top, limit.right - window.left, limit.bottom - window.top};
    paste_mask(logits, state_->logits_height, state_->logits_width, state_->cuts[region],
               {0, 0, mask.width, mask.height}, limit, mask.pixels.data(), mask.width);
    return mask;
}

std::span<const float> Result::region_logits(std::size_t region) const {
    if (region >= state_->regions.size()) {
        fail<OptionError>("there is no region number ", region, ": there are ", state_->regions.size(),
                          ", counted from 0");
    }
    return state_->logits_of(region);
}

std::string_view Result::looked_at(std::size_t word) const {
    state_->check_word(word);
    static constexpr std::array<std::string_view, 4> names{"nowhere", "whole image", "regions", "regions, whole image"};
    return names[(state_->in_regions[word] ? 2U : 0U) + (state_->in_whole[word] ? 1U : 0U)];
}

}  // namespace clsclip
