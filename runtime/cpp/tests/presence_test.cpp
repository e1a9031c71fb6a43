#include "inference/presence.hpp"

#include <numeric>
#include <random>

#include "catch.hpp"

using namespace clsclip;
using namespace clsclip::test;

TEST_CASE("The filter keeps what a slow definition keeps") {
    std::mt19937 random(3);
    std::uniform_int_distribution<int> score(0, 10), count(1, 8), coin(0, 1);
    for (int round = 0; round < 5000; ++round) {
        const auto classes = static_cast<std::size_t>(count(random));
        std::vector<float> presence;
        std::vector<bool> asked;
        for (std::size_t at = 0; at < classes; ++at) {
            presence.push_back(static_cast<float>(score(random)) / 10);
            asked.push_back(coin(random) == 1);
        }
        PresenceFilter filter{score(random) / 10.0, std::nullopt};
        if (coin(random) == 1) {
            filter.max_classes = static_cast<std::size_t>(count(random));
        }
        const bool named = count(random) == 1;
        std::vector<std::size_t> each(classes);
        std::iota(each.begin(), each.end(), std::size_t{0});
        const bool tiled = !named && coin(random) == 1;
        if (coin(random) == 1) {
            filter.in_tiles = score(random) / 10.0;
        }
        const double threshold = tiled ? filter.in_tiles.value_or(filter.threshold) : filter.threshold;
        const auto [chosen, filtered] = filter.choose(asked, named, tiled, presence, each);
        for (std::size_t at = 0; at < classes; ++at) {
            const bool passes = asked[at] && presence[at] >= static_cast<float>(threshold);
            std::size_t better = 0;  // classes that pass and stand before this one
            for (std::size_t other = 0; other < classes; ++other) {
                const bool other_passes = asked[other] && presence[other] >= static_cast<float>(threshold);
                better += other_passes && (presence[other] > presence[at] || (presence[other] == presence[at] && other < at));
            }
            const bool kept = passes && better < filter.max_classes.value_or(classes);
            if (chosen[at] != (named ? asked[at] : kept) || filtered[at] != (!named && passes && !kept)) {
                FAIL("round " << round << ", class " << at);
            }
        }
    }
}

TEST_CASE("The filter counts classes, not their words") {
    const PresenceFilter filter{0.3, 1};
    const std::vector<std::size_t> class_of_word{0, 0, 1, 1};
    const std::vector<float> presence{0.4F, 0.9F, 0.8F, 0.2F};
    const auto [chosen, filtered] = filter.choose({true, true, true, true}, false, false, presence, class_of_word);
    CHECK(chosen == std::vector<bool>{true, true, false, false});
    CHECK(filtered == std::vector<bool>{false, false, true, false});
}

TEST_CASE("Which filter a call has") {
    std::vector<std::string> notes;
    double least = 0;
    const auto filter = [&](const Request& request, const Options& options, std::optional<double> trained) {
        notes.clear();
        std::optional<PresenceSpec> spec;
        if (trained) {
            spec = PresenceSpec{false, false, *trained, least};
        }
        return choose_filter(request, options, spec, notes);
    };
    // On where the threshold was trained, or a value is given.
    CHECK(filter({}, {}, 0.5)->threshold == 0.5);
    CHECK_FALSE(filter({}, {}, 0.0));
    CHECK(filter({.presence_threshold = 0.0}, {}, 0.0)->threshold == 0);
    CHECK(filter({.max_classes = 3}, {}, 0.0)->max_classes == 3);
    CHECK(filter({.presence_filter = true}, {}, 0.0)->threshold == 0);
    CHECK_FALSE(filter({.presence_filter = false}, {}, 0.5));
    CHECK_FALSE(filter({.presence_filter = false}, {.max_classes = 4}, 0.5));
    CHECK(filter({}, {.max_classes = 4}, 0.5)->max_classes == 4);
    CHECK(filter({.max_classes = 3}, {.max_classes = 4}, 0.5)->max_classes == 3);
    CHECK_FALSE(filter({}, {.presence_filter = false}, 0.5));
    CHECK(filter({.presence_filter = true}, {.presence_filter = false}, 0.5));
    // How sure masks must be: where the bundle says so, unless every class is asked for.
    least = 2;
    CHECK(filter({}, {}, 0.5)->least_confidence == 2);
    CHECK(filter({}, {}, 0.0)->least_confidence == 2);
    CHECK(filter({.presence_threshold = 0.1}, {}, 0.5)->least_confidence == 2);
    CHECK(filter({.presence_threshold = 0.0}, {}, 0.5)->least_confidence == 0);
    CHECK_FALSE(filter({.presence_filter = false}, {}, 0.5));
    least = 0;
    // Without presence in the bundle.
    CHECK_FALSE(filter({}, {}, std::nullopt));
    CHECK(notes.empty());
    CHECK_FALSE(filter({.presence_threshold = 0.5}, {}, std::nullopt));
    CHECK(notes.size() == 1);
    CHECK_THROWS_WITH(filter({.max_classes = 1}, {}, std::nullopt), says("max_classes needs presence scores"));
    CHECK_THROWS_WITH(filter({.presence_filter = true}, {}, std::nullopt), says("presence_filter needs presence"));
    // What contradicts itself.
    CHECK_THROWS_AS(filter({.presence_threshold = 0.5, .presence_filter = false}, {}, 0.5), OptionError);
    CHECK_THROWS_AS(filter({.presence_filter = false, .max_classes = 1}, {}, 0.5), OptionError);
    CHECK_THROWS_AS(filter({.presence_threshold = 1.5}, {}, 0.5), OptionError);
    CHECK_THROWS_AS(filter({.max_classes = 0}, {}, 0.5), OptionError);
}
