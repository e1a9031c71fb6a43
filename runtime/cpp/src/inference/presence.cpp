#include "inference/presence.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "errors.hpp"

namespace clsclip {

PresenceFilter::Choice PresenceFilter::choose(const std::vector<bool>& asked, bool named, bool tiled,
                                              std::span<const float> presence,
                                              std::span<const std::size_t> class_of_word) const {
    Choice choice{asked, std::vector<bool>(asked.size(), false)};
    if (named) {
        return choice;
    }
    const auto least = static_cast<float>(tiled ? in_tiles.value_or(threshold) : threshold);
    std::map<std::size_t, float> classes;  // that are likely enough, and how likely
    for (std::size_t at = 0; at < asked.size(); ++at) {
        // In float32, as the score itself is.
        if (asked[at] && presence[at] >= least) {
            const auto place = classes.try_emplace(class_of_word[at], presence[at]).first;
            place->second = std::max(place->second, presence[at]);
        } else {
            choice.chosen[at] = false;
        }
    }
    if (!max_classes || classes.size() <= *max_classes) {
        return choice;
    }
    std::vector<std::size_t> likely;
    for (const auto& [one, likelihood] : classes) {
        likely.push_back(one);
    }
    std::stable_sort(likely.begin(), likely.end(),
                     [&](std::size_t one, std::size_t other) { return classes[one] > classes[other]; });
    const std::set<std::size_t> kept(likely.begin(), likely.begin() + static_cast<std::ptrdiff_t>(*max_classes));
    for (std::size_t at = 0; at < asked.size(); ++at) {
        if (choice.chosen[at] && !kept.contains(class_of_word[at])) {
            choice.chosen[at] = false;
            choice.filtered[at] = true;
        }
    }
    return choice;
}

void check_presence(const std::optional<bool>& presence_filter, const std::optional<double>& presence_threshold,
                    const std::optional<int>& max_classes) {
    if (presence_threshold && !(*presence_threshold >= 0 && *presence_threshold <= 1)) {
        fail<OptionError>("presence_threshold must be a number from 0 to 1, and it is ", *presence_threshold);
    }
    if (max_classes && *max_classes < 1) {
        fail<OptionError>("max_classes must be a whole number of 1 or more, and it is ", *max_classes);
    }
    if (presence_filter == false && (presence_threshold.value_or(0) > 0 || max_classes)) {
        const char* given = max_classes ? "max_classes" : "presence_threshold";
        fail<OptionError>(given, " needs the presence filter, and presence_filter is false. Set it to true, or leave ",
                          given, " out");
    }
}

std::optional<PresenceFilter> choose_filter(const Request& request, const Options& options,
                                            const std::optional<PresenceSpec>& trained, std::vector<std::string>& notes) {
    check_presence(request.presence_filter, request.presence_threshold, request.max_classes);
    if (request.presence_filter == false) {
        return std::nullopt;  // whatever load was given
    }
    const std::optional<bool> wanted = request.presence_filter ? request.presence_filter : options.presence_filter;
    const std::optional<int> most = request.max_classes ? request.max_classes : options.max_classes;
    const std::optional<double>& threshold = request.presence_threshold;
    check_presence(wanted, threshold, most);
    if (wanted == false) {
        return std::nullopt;
    }
    if (!trained) {
        if (wanted == true || most) {
            fail<OptionError>(most ? "max_classes" : "presence_filter",
                              " needs presence scores, and the bundle gives none. Export it again with clsclip-export, or "
                              "set presence_filter to false");
        }
        if (threshold.value_or(0) > 0) {
            notes.emplace_back("presence_threshold has no effect: the bundle gives no presence scores");
        }
        return std::nullopt;
    }
    if (!wanted && !threshold && !most && trained->threshold == 0 && trained->least_confidence == 0) {
        return std::nullopt;
    }
    PresenceFilter filter{threshold.value_or(trained->threshold), std::nullopt};
    // A threshold of 0 that the caller gives asks for every class as the model draws it.
    filter.least_confidence = threshold == 0.0 ? 0.0 : trained->least_confidence;
    if (most) {
        filter.max_classes = static_cast<std::size_t>(*most);
    }
    return filter;
}

}  // namespace clsclip
