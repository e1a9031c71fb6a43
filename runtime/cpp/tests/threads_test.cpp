#include <atomic>
#include <thread>

#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

namespace {

/// Run the same in many threads at once; gives how many threw.
template <class Action>
int in_threads(int count, const Action& action) {
    std::atomic<int> failures = 0;
    std::vector<std::thread> threads;
    for (int number = 0; number < count; ++number) {
        threads.emplace_back([&, number] {
            try {
                action(number);
            } catch (const std::exception&) {
                ++failures;
            }
        });
    }
    for (std::thread& one : threads) {
        one.join();
    }
    return failures;
}

}  // namespace

TEST_CASE("Eight threads share one model", "[backend][threads]") {
    const std::string backend = GENERATE(from_range(backends()));
    Options options;
    options.backend = backend;
    options.threads = 1;
    const Segmenter segmenter = Segmenter::load(kTiny, options);
    const Scene scene;
    const std::vector<std::string> words{"red", "green", "blue", "yellow", "white", "dining table"};
    const std::int64_t red = segmenter(scene.view(), {"red"}).area(0), green = segmenter(scene.view(), {"green"}).area(0);
    std::atomic<int> wrong = 0;
    const int failures = in_threads(8, [&](int number) {
        Segmenter own = segmenter.share();
        own.set_image(scene.view());
        for (int round = 0; round < 25; ++round) {
            // Words that no other thread has asked yet, so that the memory of words is written too.
            const std::string rare = "w" + std::to_string(1000 * number + round);
            const Result result = segmenter(scene.view(), {words[static_cast<std::size_t>(round) % words.size()], rare});
            Request request;
            request.regions = {{{4, 4, 20, 16}, "red", 1}, {{0, 0, 32, 32}, "", 1}};
            const Result near = own.predict({"red", "green"}, request);
            const Result whole = own.predict({"red", "green"});
            wrong += whole.area(0) != red || whole.area(1) != green || near.area(0) == 0;
            wrong += result.classes()[1] != rare;
        }
    });
    CHECK(failures == 0);
    CHECK(wrong == 0);
}

TEST_CASE("Models are loaded and dropped in several threads", "[backend][threads]") {
    const Scene scene;
    const int failures = in_threads(4, [&](int) {
        for (int round = 0; round < 2; ++round) {
            const Segmenter segmenter = Segmenter::load(kTiny);
            (void)segmenter(scene.view(), {"red"}).mask(0);
        }
    });
    CHECK(failures == 0);
}
