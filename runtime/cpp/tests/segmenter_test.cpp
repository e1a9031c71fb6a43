#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "backends/engine.hpp"
#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

namespace {

// By hand: logits are 2.5 inside and about -6.8 outside, so the line between two centres (4 px apart) crosses zero
// 1.1 px after the inner one.
constexpr Window kRed{5, 5, 19, 15};

Options options_of(const std::string& backend) {
    Options options;
    options.backend = backend;
    options.threads = 1;
    return options;
}

/// Every engine of this build, one after another.
const Segmenter& tiny() {
    static std::map<std::string, Segmenter> all;
    const std::string backend = GENERATE(from_range(backends()));
    if (!all.contains(backend)) {
        all.emplace(backend, Segmenter::load(kTiny, options_of(backend)));
    }
    return all.at(backend);
}

}  // namespace

TEST_CASE("Masks follow the word", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    const Result result = segmenter(scene.view(), {"red", "green", "blue"});
    CHECK(result.width() == 32);
    CHECK(result.height() == 32);
    CHECK(is_window(result.mask(0), kRed));
    CHECK(result.area(1) == 36);
    CHECK(result.area(2) == 0);
    CHECK(result.present(0));
    CHECK_FALSE(result.present(2));
    CHECK(result.presence()[0] == Approx(1).margin(1e-5));
    CHECK(result.presence()[2] == Approx(0.57735).margin(1e-4));
    CHECK(result.presence_threshold() == 0.9);
    CHECK(result.model() == "tiny");
    CHECK(result.looked_at(0) == "whole image");
    CHECK(result.matches().empty());
    CHECK(result.index("green") == 1);
    CHECK_THROWS_WITH(result.index("cat"), says("'cat' was not asked"));
    CHECK_THROWS_AS(result.mask(3), OptionError);
    CHECK_THROWS_AS(result.region_mask(99), OptionError);
    REQUIRE(result.regions().size() == 2);
    CHECK(result.regions()[0].whole_image);
    CHECK(result.region_logits(0).size() == 64);
}

TEST_CASE("Order, case and repetition of words make no difference", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    const Result result = segmenter(scene.view(), {"green", " red ", "red", "RED"});
    CHECK(result.words().size() == 3);
    CHECK(is_window(result.mask(1), kRed));
    CHECK(is_window(result.mask(2), kRed));
    CHECK(result.notes().size() == 1);
}

TEST_CASE("A threshold of 0 segments every word", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Ask ask;
    ask.presence_threshold = 0;
    CHECK(segmenter(scene.view(), {"red", "blue"}, ask).present(1));
    for (const double wrong : {-0.1, 1.1, std::nan(""), std::numeric_limits<double>::infinity()}) {
        ask.presence_threshold = wrong;
        CHECK_THROWS_AS(segmenter(scene.view(), {"red"}, ask), OptionError);
    }
}

TEST_CASE("The current picture is encoded once and asked again", "[engine]") {
    Segmenter segmenter = tiny().share();
    const Scene scene;
    CHECK_THROWS_WITH(segmenter.predict({"red"}), says("no picture yet"));
    segmenter.set_image(scene.view());
    CHECK(is_window(segmenter.predict({"red"}).mask(0), kRed));
    const Result second = segmenter.predict({"green", "blue"});
    CHECK(second.area(0) == 36);
    for (const Timing& timing : second.timings()) {
        CHECK(timing.step != "image");
    }
    CHECK_THROWS_AS(segmenter.share().predict({"red"}), OptionError);
}

TEST_CASE("Pixels may come in any order and with gaps between rows", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    const auto make = [&scene](PixelFormat format, std::size_t gap) {
        std::vector<std::uint8_t> pixels;
        for (std::size_t y = 0; y < 32; ++y) {
            for (std::size_t x = 0; x < 32; ++x) {
                const std::uint8_t* rgb = scene.pixels.data() + 3 * (32 * y + x);
                const bool bgr = format == PixelFormat::bgr || format == PixelFormat::bgra;
                pixels.insert(pixels.end(), {rgb[bgr ? 2 : 0], rgb[1], rgb[bgr ? 0 : 2]});
                if (bytes_per_pixel(format) == 4) {
                    pixels.push_back(255);
                }
            }
            pixels.insert(pixels.end(), gap, 77);
        }
        return pixels;
    };
    for (const PixelFormat format : {PixelFormat::rgb, PixelFormat::bgr, PixelFormat::rgba, PixelFormat::bgra}) {
        for (const std::size_t gap : {0U, 5U}) {
            const auto pixels = make(format, gap);
            const std::ptrdiff_t stride = 32 * bytes_per_pixel(format) + static_cast<std::ptrdiff_t>(gap);
            CHECK(is_window(segmenter({pixels.data(), 32, 32, stride, format}, {"red"}).mask(0), kRed));
            // From the bottom up, as some cameras and files have it.
            const Result flipped = segmenter({pixels.data() + 31 * stride, 32, 32, -stride, format}, {"red"});
            CHECK(is_window(flipped.mask(0), {kRed.left, 32 - kRed.bottom, kRed.right, 32 - kRed.top}));
        }
    }
    const std::vector<std::uint8_t> grey(64, 255);
    CHECK(segmenter({grey.data(), 8, 8, 8, PixelFormat::grey}, {"white"}).area(0) == 64);
    const std::vector<std::uint8_t> clear(4 * 64, 0);  // nothing, on white
    CHECK(segmenter({clear.data(), 8, 8, 32, PixelFormat::rgba}, {"white"}).area(0) == 64);
}

TEST_CASE("Pictures that cannot be are refused", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    const std::uint8_t* data = scene.pixels.data();
    CHECK_THROWS_AS(segmenter({nullptr, 32, 32, 96, PixelFormat::rgb}, {"red"}), ImageError);
    CHECK_THROWS_AS(segmenter({data, 0, 32, 96, PixelFormat::rgb}, {"red"}), ImageError);
    CHECK_THROWS_AS(segmenter({data, 32, -1, 96, PixelFormat::rgb}, {"red"}), ImageError);
    CHECK_THROWS_WITH(segmenter({data, 32, 32, 95, PixelFormat::rgb}, {"red"}), says("95 bytes apart"));
    CHECK_THROWS_AS(segmenter({data, 32, 32, 32, PixelFormat::rgba}, {"red"}), ImageError);
    CHECK_THROWS_AS(segmenter({data, 32, 32, 96, static_cast<PixelFormat>(9)}, {"red"}), ImageError);
    CHECK_THROWS_WITH(segmenter({data, 1 << 20, 1 << 20, 3 << 20, PixelFormat::rgb}, {"red"}), says("the limit is"));
    CHECK_THROWS_AS(segmenter(scene.view(), std::vector<std::string>{}), WordError);
}

TEST_CASE("Regions of the asked class are looked at, and their masks joined", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Ask ask;
    ask.regions = {{{4, 4, 20, 16}, "red", 0.9F}, {{8, 20, 16, 28}, "green", 1}};
    ask.zoom_in = ZoomIn{0, 1, OnMissing::empty, false, false};
    const Result result = segmenter(scene.view(), {"red", "green", "blue"}, ask);
    CHECK(result.looked_at(0) == "regions");
    CHECK(result.looked_at(2) == "nowhere");
    CHECK(std::isnan(result.presence()[2]));
    CHECK(is_window(result.mask(0), {4, 4, 20, 16}));  // the whole crop is red
    REQUIRE(result.regions().size() == 2);
    const Region& red = result.regions()[0];
    CHECK(red.word == 0);
    CHECK(red.window == Window{4, 4, 20, 16});
    CHECK(red.name == "red");
    CHECK(red.score == 0.9F);
    CHECK_FALSE(red.whole_image);
    CHECK(result.matches()[0].how == "exact");
    CHECK(result.matches()[2].how == "none");
    CHECK(result.region_mask(0).width == 16);
}

TEST_CASE("A word without a region is looked for in the whole picture", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Ask ask;
    ask.regions = {{{8, 20, 16, 28}, "green", 1}};
    const Result result = segmenter(scene.view(), {"red", "green"}, ask);
    CHECK(result.looked_at(0) == "whole image");
    CHECK(is_window(result.mask(0), kRed));
    ask.regions = std::vector<GivenBox>{};
    CHECK(is_window(segmenter(scene.view(), {"red"}, ask).mask(0), kRed));
    Segmenter own = segmenter.share();
    own.set_image(scene.view());
    CHECK(is_window(own.predict({"red"}, ask).mask(0), kRed));
}

TEST_CASE("Boxes without a name are asked for every word that their crop shows", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Ask ask;
    ask.regions = {{{4, 4, 20, 16}, "", 0.5F}, {{8, 20, 16, 28}, "thing", 1}};
    ask.zoom_in = ZoomIn{0, 1, OnMissing::empty, false, false};
    const Result result = segmenter(scene.view(), {"red", "green"}, ask);
    REQUIRE(result.regions().size() == 2);
    CHECK_FALSE(result.regions()[0].name);
    CHECK(result.regions()[0].score == Approx(0.5));
    CHECK(result.matches()[0].how == "any");
    CHECK(result.area(1) == 64);
}

TEST_CASE("Boxes alone may be the masks", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Ask ask;
    ask.regions = {{{1.4F, 2.5F, 9.6F, 12}, "blue", 1}};
    ask.zoom_in = ZoomIn{0, 1, OnMissing::empty, true, false};
    const Result result = segmenter(scene.view(), {"red", "blue"}, ask);
    CHECK(result.presence().empty());
    CHECK(is_window(result.mask(1), {1, 2, 10, 12}));
    CHECK(result.area(0) == 0);
}

TEST_CASE("Calls that are cut into pieces give the same", "[engine]") {
    const std::string backend = GENERATE(from_range(backends()));
    Options options = options_of(backend);
    options.pairs_per_call = 1;
    const Segmenter one = Segmenter::load(kTiny, options);
    const Segmenter all = Segmenter::load(kTiny, options_of(backend));
    const Scene scene;
    Ask ask;
    ask.presence_threshold = 0;
    ask.regions = {{{4, 4, 20, 16}, "", 1}, {{8, 20, 16, 28}, "", 1}, {{0, 0, 32, 32}, "green", 1}};
    const std::vector<std::string> words{"red", "green", "blue", "yellow"};
    const Result pieces = one(scene.view(), words, ask), whole = all(scene.view(), words, ask);
    REQUIRE(pieces.regions().size() == whole.regions().size());
    CHECK(whole.regions().size() == 9);
    for (std::size_t region = 0; region < whole.regions().size(); ++region) {
        CHECK(pieces.regions()[region].word == whole.regions()[region].word);
        const auto cut = pieces.region_logits(region), uncut = whole.region_logits(region);
        for (std::size_t at = 0; at < cut.size(); ++at) {
            CHECK(cut[at] == Approx(uncut[at]).margin(1e-4));
        }
    }
}

TEST_CASE("Zooming in without a detector or regions says what to do", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    CHECK_FALSE(segmenter.has_detector());
    Ask ask;
    ask.zoom_in = ZoomIn{};
    CHECK_THROWS_WITH(segmenter(scene.view(), {"red"}, ask), says("needs a detector"));
}

TEST_CASE("Options that make no sense are refused", "[engine]") {
    const auto wrong = [](auto change) {
        Options options;
        change(options);
        return options;
    };
    using O = Options&;
    CHECK_THROWS_WITH(Segmenter::load(kTiny, wrong([](O one) { one.backend = "cuda"; })), says("there is no backend"));
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.threads = -1; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.memory_mb = 0; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.max_pixels = 0; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.detector_iou = 2; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.max_detections = 0; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load("none"), BundleError);
}

TEST_CASE("Masks go to the caller's memory, with gaps", "[engine]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    const Result result = segmenter(scene.view(), {"red"});
    std::vector<std::uint8_t> pixels(32 * 40, 9);
    result.mask_to(0, pixels.data(), 40);
    Mask mask{32, 32, {}};
    for (int y = 0; y < 32; ++y) {
        mask.pixels.insert(mask.pixels.end(), pixels.begin() + 40 * y, pixels.begin() + 40 * y + 32);
        CHECK(pixels[static_cast<std::size_t>(40 * y + 35)] == 9);
    }
    CHECK(is_window(mask, kRed));
    CHECK_THROWS_AS(result.mask_to(0, pixels.data(), 31), OptionError);
    CHECK_THROWS_AS(result.mask_to(0, nullptr, 32), OptionError);
}

TEST_CASE("Auto takes the first engine", "[engine]") {
    const Segmenter segmenter = Segmenter::load(kTiny);
    CHECK(segmenter.backend() == backends().front());
    CHECK(segmenter.fingerprint().size() == 64);
    CHECK(segmenter.logits_size() == std::pair(8, 8));
}
