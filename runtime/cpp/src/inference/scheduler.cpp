#include "inference/scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "images/resize.hpp"
#include "inference/domain.hpp"
#include "inference/queue.hpp"
#include "limits.hpp"
#include "masks/confidence.hpp"
#include "masks/upsampling.hpp"
#include "regions/crops.hpp"
#include "regions/tiles.hpp"

namespace clsclip {

namespace {

/// A window of the image and the words that are searched in it.
struct Crop {
    Window window;
    Window limit;  ///< the part of it in which masks may be
    std::int64_t box = kWhole;
    std::vector<bool> asked;
    bool named = false;  ///< the source of the box says what it shows, so presence does not decide
    bool tiled = false;  ///< a part of the image that nobody chose, where presence must be higher
};

bool any(const std::vector<bool>& flags) {
    return std::find(flags.begin(), flags.end(), true) != flags.end();
}

void add_to(std::vector<bool>& flags, const std::vector<bool>& also) {
    std::transform(flags.begin(), flags.end(), also.begin(), flags.begin(), std::logical_or<>());
}

/// Takes one image through the graphs, as many crops and pairs at a time as a call may hold.
class Scheduler {
public:
    Scheduler(const ImageRequest& image, const CallRequest& call, const EncodedWords& encoded, const LoadedModel& model,
              const Manifest& manifest, const Limits& limits, Timings& timings)
        : image_(image), call_(call), encoded_(encoded), model_(model), manifest_(manifest), timings_(timings),
          zoom_(call.zoom.value_or(ZoomIn{})), limits_(limits), crops_per_call_(per_call(limits, manifest.memory.crop_bytes)),
          queue_(model, encoded, call.words, manifest, limits) {}

    Findings run() {
        found_.begin(call_.words.size());
        if (image_.proposals) {
            add_regions();
        }
        encode_all();
        if (presence_from_trunk() && image_.proposals) {
            settle();
        }
        // Which classes are missing is known only when all regions have been searched.
        if (!image_.proposals || zoom_.fallback == Fallback::whole_image) {
            std::vector<bool> missing = found_.segmented;
            missing.flip();
            if (any(missing)) {
                add_whole(std::move(missing));
            }
        }
        if (call_.tiles) {
            add_tiles(*call_.tiles);
        }
        encode_all();
        settle();
        return std::move(found_);
    }

private:
    void add_regions() {
        const Proposals& proposals = *image_.proposals;
        const int width = image_.image.width, height = image_.image.height;
        for (const auto& [window, box] : crop_windows(proposals.boxes, width, height, zoom_)) {
            std::vector<bool> asked(call_.words.size());
            for (std::size_t at = 0; at < asked.size(); ++at) {
                asked[at] = searches(proposals, image_.matched, box, at);
            }
            if (any(asked)) {
                add_to(found_.in_regions, asked);
                const bool named = proposals.classes[box] != kAny;
                const Window limit = named && zoom_.mask_margin
                                         ? mask_limit(proposals.boxes[box], window, width, height, *zoom_.mask_margin)
                                         : window;
                waiting_.push_back({window, limit, static_cast<std::int64_t>(box), std::move(asked), named, false});
            }
            if (waiting_.size() == crops_per_call_) {
                encode_all();
            }
        }
    }

    void add_whole(std::vector<bool> asked) {
        add_to(found_.in_whole, asked);
        Crop crop{image_.whole(), image_.whole(), kWhole, std::move(asked), false, false};
        if (image_.features) {
            search(image_.features, {std::move(crop)});
        } else {
            waiting_.push_back(std::move(crop));
            if (waiting_.size() == crops_per_call_) {
                encode_all();
            }
        }
    }

    void add_tiles(const TilesSpec& tiles) {
        const std::vector<bool> asked(call_.words.size(), true);
        add_to(found_.in_tiles, asked);
        for (const Window& window : tile_windows(image_.image.width, image_.image.height, tiles.scales, tiles.overlap)) {
            waiting_.push_back({window, window, kWhole, asked, false, true});
            if (waiting_.size() == crops_per_call_) {
                encode_all();
            }
        }
    }

    /// Encode the crops that wait (never more than one call may hold), and queue their pairs.
    void encode_all() {
        if (waiting_.empty()) {
            return;
        }
        const std::vector<Crop> group = std::exchange(waiting_, {});
        std::shared_ptr<const Tensors> features;
        {
            const Timings::Step step(timings_, "image");
            const std::int64_t side = manifest_.image.size;
            Tensor pixels{{static_cast<std::int64_t>(group.size()), 3, side, side}, {}};
            pixels.values.resize(count_of(pixels.shape));
            for (std::size_t at = 0; at < group.size(); ++at) {
                preprocess(image_.image, group[at].window, manifest_.image,
                           pixels.values.data() + at * pixels.row_size());
            }
            features = std::make_shared<const Tensors>(model_.encode(pixels, call_.filter.has_value()));
        }
        search(features, group);
    }

    /// Whether presence is known only after the trunk has run.
    [[nodiscard]] bool presence_from_trunk() const { return manifest_.presence && manifest_.presence->from_trunk; }

    /// Queue the pairs of encoded crops; those alone that the crops show, where that is known before the trunk.
    void search(const std::shared_ptr<const Tensors>& features, const std::vector<Crop>& group) {
        std::optional<Tensor> presence;
        if (call_.filter && !presence_from_trunk()) {
            const Timings::Step step(timings_, "presence");
            presence = model_.presence(*features, encoded_, call_.words, limits_.memory_mb);
        }
        std::vector<std::int64_t> crops, classes;
        for (std::size_t at = 0; at < group.size(); ++at) {
            const Crop& crop = group[at];
            if (manifest_.domain && crop.box == kWhole && !crop.tiled) {
                found_.far = is_far(*manifest_.domain, *features, at);
            }
            const std::vector<bool> chosen = presence ? filtered(crop, presence->row(at)) : crop.asked;
            for (std::size_t name = 0; name < chosen.size(); ++name) {
                if (chosen[name]) {
                    crops.push_back(static_cast<std::int64_t>(at));
                    classes.push_back(static_cast<std::int64_t>(name));
                }
            }
            if (presence_from_trunk()) {
                unsettled_.push_back(crop);
                continue;
            }
            add_to(found_.segmented, chosen);
            add_pairs(crop, chosen, presence ? presence->row(at) : std::span<const float>{});
        }
        const Timings::Step step(timings_, "masks");
        queue_.add(features, std::move(crops), std::move(classes));
    }

    /// The classes of a crop that pass the filter, all where there is none; their presence (K) is noted, in a tile only of
    /// those that passed: others met a higher threshold there than the one that the result tells.
    std::vector<bool> filtered(const Crop& crop, std::span<const float> presence) {
        PresenceFilter::Choice choice{crop.asked, std::vector<bool>(crop.asked.size(), false)};
        if (call_.filter) {
            choice = call_.filter->choose(crop.asked, crop.named, crop.tiled, presence, call_.class_of_word);
        }
        add_to(found_.filtered, choice.filtered);
        const std::vector<bool>& shown = crop.tiled ? choice.chosen : crop.asked;
        for (std::size_t name = 0; name < shown.size(); ++name) {
            if (shown[name]) {
                found_.presence[name] = std::fmax(found_.presence[name], presence[name]);
            }
        }
        return std::move(choice.chosen);
    }

    void add_pairs(const Crop& crop, const std::vector<bool>& chosen, std::span<const float> presence) {
        for (std::size_t name = 0; name < chosen.size(); ++name) {
            if (chosen[name]) {
                const auto score = presence.empty() ? std::nullopt : std::optional(presence[name]);
                found_.pairs.push_back({name, crop.window, crop.limit, mask_logit(crop.named), crop.box, score});
                named_.push_back(crop.named);
            }
        }
    }

    /// Take the logits of all pairs that were queued, lowered where a mask is faint and nobody says what the crop shows;
    /// with presence from the trunk, only those that pass the filter.
    void settle() {
        const Timings::Step step(timings_, "masks");
        take_logits();
        if (call_.filter && call_.filter->least_confidence > 0) {
            const std::size_t size = mask_size();
            for (; settled_ < found_.pairs.size(); ++settled_) {
                if (!named_[settled_]) {
                    lower_faint(std::span(found_.logits).subspan(settled_ * size, size), call_.filter->least_confidence);
                }
            }
        }
    }

    [[nodiscard]] std::size_t mask_size() const {
        return static_cast<std::size_t>(manifest_.mask.height) * static_cast<std::size_t>(manifest_.mask.width);
    }

    void take_logits() {
        const PairOutputs outputs = queue_.finish();
        if (!presence_from_trunk()) {
            found_.logits = outputs.logits;
            return;
        }
        const std::size_t size = mask_size();
        std::size_t pair = 0;
        for (const Crop& crop : std::exchange(unsettled_, {})) {
            const std::size_t first = pair;
            std::vector<float> presence(crop.asked.size(), 0.0F);
            for (std::size_t name = 0; name < crop.asked.size(); ++name) {
                if (crop.asked[name]) {
                    presence[name] = outputs.presence[pair++];
                }
            }
            const std::vector<bool> chosen = filtered(crop, presence);
            add_to(found_.segmented, chosen);
            add_pairs(crop, chosen, presence);
            std::size_t at = first;
            for (std::size_t name = 0; name < crop.asked.size(); ++name) {
                if (!crop.asked[name]) {
                    continue;
                }
                if (chosen[name]) {
                    const auto begin = outputs.logits.begin() + static_cast<std::ptrdiff_t>(at * size);
                    found_.logits.insert(found_.logits.end(), begin, begin + static_cast<std::ptrdiff_t>(size));
                }
                ++at;
            }
        }
    }

    /// The logit that a pixel must exceed: lower in a box named as the class, where it is likelier of it.
    [[nodiscard]] float mask_logit(bool named) const {
        return static_cast<float>(logit(call_.mask_threshold) + (named ? logit(zoom_.mask_threshold) : 0.0));
    }

    const ImageRequest& image_;
    const CallRequest& call_;
    const EncodedWords& encoded_;
    const LoadedModel& model_;
    const Manifest& manifest_;
    Timings& timings_;
    ZoomIn zoom_;
    const Limits& limits_;
    std::size_t crops_per_call_;
    PairQueue queue_;
    std::vector<Crop> waiting_;
    std::vector<bool> named_;   ///< of each pair, whether its crop is
    std::size_t settled_ = 0;   ///< pairs whose logits have been taken
    std::vector<Crop> unsettled_;  ///< crops whose pairs are queued, where presence comes from the trunk
    Findings found_;
};

}  // namespace

Findings segment(const ImageRequest& image, const CallRequest& call, const EncodedWords& encoded,
                 const LoadedModel& model, const Manifest& manifest, const Limits& limits, Timings& timings) {
    Findings found = Scheduler(image, call, encoded, model, manifest, limits, timings).run();
    found.join(call.class_of_word, call.asked.classes.size());
    found.proposals = image.proposals;
    return found;
}

Findings boxes_as_masks(const ImageRequest& image, const CallRequest& call, float mask_logit) {
    Findings found;
    const std::size_t words = call.words.size();
    found.begin(words);
    for (const auto& [window, box] : box_windows(image.proposals->boxes, image.image.width, image.image.height)) {
        for (std::size_t name = 0; name < words; ++name) {
            if (searches(*image.proposals, image.matched, box, name)) {
                found.pairs.push_back(
                    {name, window, window, mask_logit, static_cast<std::int64_t>(box), std::nullopt});
                found.segmented[name] = true;
            }
        }
    }
    found.in_regions = found.segmented;
    found.logits.assign(found.pairs.size(), mask_logit + 1);
    found.join(call.class_of_word, call.asked.classes.size());
    found.proposals = image.proposals;
    return found;
}

}  // namespace clsclip
