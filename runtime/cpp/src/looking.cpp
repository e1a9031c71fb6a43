#include "looking.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "images/resize.hpp"
#include "memory.hpp"
#include "regions/crops.hpp"

namespace clsclip {

namespace {

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

/// A window of the picture and the words that are asked of it.
struct Crop {
    Window window;
    Window limit;  ///< the part of it in which masks may be
    std::int64_t box = kWhole;
    std::vector<bool> asked;
    bool named = false;  ///< the source of the box says what it shows, so presence is not asked
};

bool any(const std::vector<bool>& flags) {
    return std::find(flags.begin(), flags.end(), true) != flags.end();
}

void begin(Look& look, std::size_t words) {
    look.presence.assign(words, kUnknown);
    look.segmented.assign(words, false);
    look.in_regions.assign(words, false);
    look.in_whole.assign(words, false);
}

/// Takes one look through the graphs, as many crops and pairs at a time as a call may hold.
class Looker {
public:
    Looker(Look& look, const Question& question, const Graphs& graphs, const Manifest& manifest, Account& account)
        : look_(look), question_(question), graphs_(graphs), manifest_(manifest), account_(account),
          crops_per_call_(crops_per_call(question.memory_mb, manifest)),
          queue_(graphs, question.encoded.tokens, question.words, manifest.mask, question.memory_mb,
                 question.most_pairs) {
        if (question.most_pairs > 0) {
            crops_per_call_ = std::min(crops_per_call_, question.most_pairs);
        }
    }

    void run() {
        begin(look_, question_.words.size());
        if (look_.proposals) {
            add_regions();
        }
        encode_all();  // which words are missing is known only when all regions have been looked at
        if (!look_.proposals || question_.zoom.on_missing == OnMissing::whole_image) {
            std::vector<bool> missing = look_.segmented;
            missing.flip();
            if (any(missing)) {
                add_whole(std::move(missing));
            }
        }
        encode_all();
        const Account::Step step(account_, "masks");
        look_.logits = queue_.finish();
    }

private:
    void add_regions() {
        const Proposals& proposals = *look_.proposals;
        for (const auto& [window, box] :
             crop_windows(proposals.boxes, look_.image.width, look_.image.height, question_.zoom)) {
            std::vector<bool> asked(question_.words.size());
            for (std::size_t word = 0; word < asked.size(); ++word) {
                asked[word] = look_.asks(box, word);
            }
            if (any(asked)) {
                mark(look_.in_regions, asked);
                const bool named = proposals.classes[box] != kAny;
                const std::optional<double>& spill = question_.zoom.spill;
                const Window limit = named && spill ? mask_limit(proposals.boxes[box], window, look_.image.width,
                                                                 look_.image.height, *spill)
                                                    : window;
                waiting_.push_back({window, limit, static_cast<std::int64_t>(box), std::move(asked), named});
            }
            if (waiting_.size() == crops_per_call_) {
                encode_all();
            }
        }
    }

    void add_whole(std::vector<bool> asked) {
        mark(look_.in_whole, asked);
        Crop crop{look_.whole(), look_.whole(), kWhole, std::move(asked), false};
        if (look_.arrays) {
            ask(look_.arrays, {std::move(crop)});
        } else {
            waiting_.push_back(std::move(crop));
        }
    }

    static void mark(std::vector<bool>& flags, const std::vector<bool>& also) {
        std::transform(flags.begin(), flags.end(), also.begin(), flags.begin(), std::logical_or<>());
    }

    /// Encode the crops that wait (never more than one call may hold), and queue their pairs.
    void encode_all() {
        if (waiting_.empty()) {
            return;
        }
        const std::vector<Crop> group = std::exchange(waiting_, {});
        std::shared_ptr<const Tensors> arrays;
        {
            const Account::Step step(account_, "image");
            const std::int64_t side = manifest_.image.size;
            Tensor pixels{{static_cast<std::int64_t>(group.size()), 3, side, side}, {}};
            pixels.values.resize(count_of(pixels.shape));
            for (std::size_t at = 0; at < group.size(); ++at) {
                preprocess(look_.image, group[at].window, manifest_.image,
                           pixels.values.data() + at * pixels.row_size());
            }
            arrays = std::make_shared<const Tensors>(graphs_.encode(pixels));
        }
        ask(arrays, group);
    }

    /// Which words the encoded crops show, and those pairs to the trunk.
    void ask(const std::shared_ptr<const Tensors>& arrays, const std::vector<Crop>& group) {
        std::optional<Tensor> presence;
        {
            const Account::Step step(account_, "presence");
            presence = graphs_.presence(*arrays, question_.encoded, question_.words);
        }
        std::vector<std::int64_t> crops, words;
        for (std::size_t at = 0; at < group.size(); ++at) {
            const Crop& crop = group[at];
            for (std::size_t word = 0; word < question_.words.size(); ++word) {
                if (!crop.asked[word]) {
                    continue;
                }
                std::optional<float> score;
                if (presence) {
                    score = presence->row(at)[word];
                    look_.presence[word] = std::fmax(look_.presence[word], *score);
                    // In float32, as the score itself is.
                    if (!crop.named && *score < static_cast<float>(question_.threshold)) {
                        continue;
                    }
                }
                look_.segmented[word] = true;
                look_.pairs.push_back({word, crop.window, crop.limit, cut(crop.named), crop.box, score});
                crops.push_back(static_cast<std::int64_t>(at));
                words.push_back(static_cast<std::int64_t>(word));
            }
        }
        const Account::Step step(account_, "masks");
        queue_.add(arrays, std::move(crops), std::move(words));
    }

    /// The logit that a pixel must exceed. Near a box of its word's name it is likelier of the word than elsewhere.
    [[nodiscard]] float cut(bool named) const {
        return static_cast<float>(manifest_.mask.cut() - (named ? std::log(question_.zoom.odds) : 0.0));
    }

    Look& look_;
    const Question& question_;
    const Graphs& graphs_;
    const Manifest& manifest_;
    Account& account_;
    std::size_t crops_per_call_;
    PairQueue queue_;
    std::vector<Crop> waiting_;
};

}  // namespace

void Account::add(const std::string& step, double milliseconds) {
    const auto known =
        std::find_if(timings_.begin(), timings_.end(), [&step](const Timing& one) { return one.step == step; });
    if (known != timings_.end()) {
        known->milliseconds += milliseconds;
    } else {
        timings_.push_back({step, milliseconds});
    }
}

bool Look::asks(std::size_t box, std::size_t word) const {
    const int of_box = proposals->classes[box];
    return of_box == kAny || std::find(classes[word].begin(), classes[word].end(), of_box) != classes[word].end();
}

void look_for(Look& look, const Question& question, const Graphs& graphs, const Manifest& manifest, Account& account) {
    Looker(look, question, graphs, manifest, account).run();
}

void take_boxes(Look& look, std::size_t words, float cut) {
    begin(look, words);
    for (const auto& [window, box] : box_windows(look.proposals->boxes, look.image.width, look.image.height)) {
        for (std::size_t word = 0; word < words; ++word) {
            if (look.asks(box, word)) {
                look.pairs.push_back({word, window, window, cut, static_cast<std::int64_t>(box), std::nullopt});
                look.segmented[word] = true;
            }
        }
    }
    look.in_regions = look.segmented;
    look.logits.assign(look.pairs.size(), cut + 1);
}

}  // namespace clsclip
