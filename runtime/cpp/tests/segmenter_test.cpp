#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "graph.hpp"
#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

namespace {

// By hand: logits are 2.5 inside and about -6.8 outside, so the line between two centres (4 px apart) crosses zero
// 1.1 px after the inner one.
constexpr Window kRed{5, 5, 19, 15};

using Places = std::vector<std::string_view>;

Options options_of(const std::string& backend) {
    Options options;
    options.backend = backend;
    options.threads = 1;
    return options;
}

/// Every backend of this build, one after another.
const Segmenter& tiny() {
    static std::map<std::string, Segmenter> all;
    const std::string backend = GENERATE(from_range(backends()));
    if (!all.contains(backend)) {
        all.emplace(backend, Segmenter::load(kTiny, options_of(backend)));
    }
    return all.at(backend);
}

}  // namespace

TEST_CASE("Masks follow the word", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    const Result result = segmenter(scene.view(), {"red", "green", "blue"});
    CHECK(result.width() == 32);
    CHECK(result.height() == 32);
    CHECK(is_window(result.mask(0), kRed));
    CHECK(result.area(1) == 36);
    CHECK(result.area(2) == 0);
    const ClassResult red = result["red"];
    CHECK(red.status == Status::found);
    CHECK(red.area == 140);
    CHECK(red.box == kRed);
    CHECK(red.reason.empty());
    CHECK(*red.presence == Approx(1).margin(1e-5));
    CHECK(result.status(2) == Status::absent);
    CHECK(result.reason(2) == "presence below 0.90");
    CHECK_FALSE(result[2].box);
    CHECK(*result.presence(2) == Approx(0.57735).margin(1e-4));
    CHECK(result.presence_threshold() == 0.9);
    CHECK(result.model() == "tiny");
    CHECK(red.searched == Places{"whole-image"});
    CHECK(result.matches().empty());
    CHECK(result.index("green") == 1);
    CHECK_THROWS_WITH(result.index("cat"), says("'cat' was not asked"));
    CHECK_THROWS_AS(result.mask(3), OptionError);
    CHECK_THROWS_AS(result.instance_mask(99), OptionError);
    REQUIRE(result.instances().size() == 2);
    CHECK(result.instances()[0].whole_image);
    CHECK(result.instance_logits(0).size() == 64);
}

TEST_CASE("Order, case and repetition of words make no difference", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    const Result result = segmenter(scene.view(), {"green", " red ", "red", "RED"});
    CHECK(result.classes().size() == 3);
    CHECK(is_window(result.mask(1), kRed));
    CHECK(is_window(result.mask(2), kRed));
    CHECK(result.notes().size() == 2);
    CHECK(result.notes()[1].find("never validated") != std::string::npos);
}

TEST_CASE("A threshold of 0 segments every word", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Request request;
    request.presence_threshold = 0;
    CHECK(segmenter(scene.view(), {"red", "blue"}, request).status(1) == Status::empty);
    for (const double wrong : {-0.1, 1.1, std::nan(""), std::numeric_limits<double>::infinity()}) {
        request.presence_threshold = wrong;
        CHECK_THROWS_AS(segmenter(scene.view(), {"red"}, request), OptionError);
    }
}

TEST_CASE("Presence lets the likeliest classes through", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Request request;
    request.presence_threshold = 0;
    request.max_classes = 2;
    const Result result = segmenter(scene.view(), {"blue", "red", "green"}, request);
    CHECK(result.status(0) == Status::filtered);
    CHECK(result.reason(0) == "outside the top 2");
    CHECK(result.status(1) == Status::found);
    CHECK(result.status(2) == Status::found);
    CHECK(result.max_classes() == 2);
    // Boxes that are named take no place.
    request.max_classes = 1;
    request.regions = {{{4, 4, 20, 16}, "red", 1}, {{8, 20, 16, 28}, "", 1}};
    request.zoom_in = ZoomIn{.crop_margin = 0, .fallback = Fallback::none};
    const Result near = segmenter(scene.view(), {"red", "green", "blue"}, request);
    CHECK(near.status(0) == Status::found);
    CHECK(near.status(1) == Status::found);
    CHECK(near.status(2) == Status::filtered);
}

TEST_CASE("Without the presence filter every class is segmented and has no presence", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Request request;
    request.presence_filter = false;
    const Result result = segmenter(scene.view(), {"red", "blue"}, request);
    CHECK(result.status(1) == Status::empty);
    CHECK_FALSE(result.presence(0));
    CHECK_FALSE(result.presence_threshold());
    request.max_classes = 1;
    CHECK_THROWS_WITH(segmenter(scene.view(), {"red"}, request), says("max_classes needs the presence filter"));
}

TEST_CASE("What load was given holds for requests that do not say", "[backend]") {
    Options options = options_of(backends().front());
    options.max_classes = 1;
    const Segmenter segmenter = Segmenter::load(kTiny, options);
    const Scene scene;
    Request request;
    request.presence_threshold = 0;
    CHECK(segmenter(scene.view(), {"red", "blue"}, request).status(1) == Status::filtered);
    request.max_classes = 2;
    CHECK(segmenter(scene.view(), {"red", "blue"}, request).status(1) == Status::empty);
    options.presence_filter = false;
    CHECK_THROWS_AS(Segmenter::load(kTiny, options), OptionError);
}

TEST_CASE("Results are bounded", "[backend]") {
    Options options = options_of(backends().front());
    options.limits.result_mb = 1;
    const Segmenter segmenter = Segmenter::load(kTiny, options);
    const Scene scene;
    std::vector<std::string> many;
    for (int at = 0; at < 4200; ++at) {  // 256 bytes each
        many.push_back("w" + std::to_string(at));
    }
    Request request;
    request.presence_filter = false;
    CHECK_THROWS_WITH(segmenter(scene.view(), many, request), says("result_mb"));
}

TEST_CASE("The current image is encoded once and asked again", "[backend]") {
    Segmenter segmenter = tiny().share();
    const Scene scene;
    CHECK_THROWS_WITH(segmenter.predict({"red"}), says("no image yet"));
    segmenter.set_image(scene.view());
    CHECK(is_window(segmenter.predict({"red"}).mask(0), kRed));
    const Result second = segmenter.predict({"green", "blue"});
    CHECK(second.area(0) == 36);
    for (const Timing& timing : second.timings()) {
        CHECK(timing.step != "image");
    }
    CHECK_THROWS_AS(segmenter.share().predict({"red"}), OptionError);
}

TEST_CASE("Pixels may come in any order and with gaps between rows", "[backend]") {
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
    const std::vector<std::uint8_t> gray(64, 255);
    CHECK(segmenter({gray.data(), 8, 8, 8, PixelFormat::gray}, {"white"}).area(0) == 64);
    const std::vector<std::uint8_t> clear(4 * 64, 0);  // nothing, on white
    CHECK(segmenter({clear.data(), 8, 8, 32, PixelFormat::rgba}, {"white"}).area(0) == 64);
}

TEST_CASE("Pictures that cannot be are refused", "[backend]") {
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

TEST_CASE("Regions of the asked class are looked at, and their masks joined", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Request request;
    request.regions = {{{4, 4, 20, 16}, "red", 0.9F}, {{8, 20, 16, 28}, "green", 1}};
    request.zoom_in = ZoomIn{0, 1, Fallback::none, false, false};
    const Result result = segmenter(scene.view(), {"red", "green", "blue"}, request);
    CHECK(result.searched(0) == Places{"regions"});
    CHECK(result.searched(2).empty());
    CHECK(result.reason(2) == "no region");
    CHECK_FALSE(result.presence(2));
    CHECK(result.region_count() == 2);
    CHECK(is_window(result.mask(0), {4, 4, 20, 16}));  // the whole crop is red
    REQUIRE(result.instances().size() == 2);
    const Instance& red = result.instances()[0];
    CHECK(red.class_index == 0);
    CHECK(red.window == Window{4, 4, 20, 16});
    CHECK(red.name == "red");
    CHECK(red.score == 0.9F);
    CHECK_FALSE(red.whole_image);
    CHECK(result.matches()[0].how == "exact");
    CHECK(result.matches()[2].how == "none");
    CHECK(result.instance_mask(0).width == 16);
}

TEST_CASE("A word without a region is looked for in the whole picture", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Request request;
    request.regions = {{{8, 20, 16, 28}, "green", 1}};
    const Result result = segmenter(scene.view(), {"red", "green"}, request);
    CHECK(result.searched(0) == Places{"whole-image"});
    CHECK(is_window(result.mask(0), kRed));
    request.regions = std::vector<GivenBox>{};
    CHECK(is_window(segmenter(scene.view(), {"red"}, request).mask(0), kRed));
    Segmenter own = segmenter.share();
    own.set_image(scene.view());
    CHECK(is_window(own.predict({"red"}, request).mask(0), kRed));
}

TEST_CASE("Boxes without a name are asked for every word that their crop shows", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Request request;
    request.regions = {{{4, 4, 20, 16}, "", 0.5F}, {{8, 20, 16, 28}, "thing", 1}};
    request.zoom_in = ZoomIn{0, 1, Fallback::none, false, false};
    const Result result = segmenter(scene.view(), {"red", "green"}, request);
    REQUIRE(result.instances().size() == 2);
    CHECK_FALSE(result.instances()[0].name);
    CHECK(result.instances()[0].score == Approx(0.5));
    CHECK(result.matches()[0].how == "any");
    CHECK(result.area(1) == 64);
}

TEST_CASE("Boxes alone may be the masks", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    Request request;
    request.regions = {{{1.4F, 2.5F, 9.6F, 12}, "blue", 1}};
    request.zoom_in = ZoomIn{0, 1, Fallback::none, true, false};
    const Result result = segmenter(scene.view(), {"red", "blue"}, request);
    CHECK_FALSE(result.presence(1));
    CHECK(result.status(0) == Status::absent);
    CHECK(is_window(result.mask(1), {1, 2, 10, 12}));
    CHECK(result.area(0) == 0);
}

TEST_CASE("Calls that are cut into pieces give the same", "[backend]") {
    const std::string backend = GENERATE(from_range(backends()));
    Options options = options_of(backend);
    options.limits.pairs_per_call = 1;
    const Segmenter one = Segmenter::load(kTiny, options);
    const Segmenter all = Segmenter::load(kTiny, options_of(backend));
    const Scene scene;
    Request request;
    request.presence_threshold = 0;
    request.regions = {{{4, 4, 20, 16}, "", 1}, {{8, 20, 16, 28}, "", 1}, {{0, 0, 32, 32}, "green", 1}};
    const std::vector<std::string> words{"red", "green", "blue", "yellow"};
    const Result pieces = one(scene.view(), words, request), whole = all(scene.view(), words, request);
    REQUIRE(pieces.instances().size() == whole.instances().size());
    CHECK(whole.instances().size() == 9);
    for (std::size_t region = 0; region < whole.instances().size(); ++region) {
        CHECK(pieces.instances()[region].class_index == whole.instances()[region].class_index);
        const auto cut = pieces.instance_logits(region), uncut = whole.instance_logits(region);
        for (std::size_t at = 0; at < cut.size(); ++at) {
            CHECK(cut[at] == Approx(uncut[at]).margin(1e-4));
        }
    }
}

TEST_CASE("Boxes as masks without a detector or regions say what to do", "[backend]") {
    const Segmenter& segmenter = tiny();
    const Scene scene;
    CHECK_FALSE(segmenter.has_detector());
    Request request;
    request.zoom_in = ZoomIn{.boxes_as_masks = true};
    CHECK_THROWS_WITH(segmenter(scene.view(), {"red"}, request), says("need a detector"));
}

TEST_CASE("Options that make no sense are refused", "[backend]") {
    const auto wrong = [](auto change) {
        Options options;
        change(options);
        return options;
    };
    using O = Options&;
    CHECK_THROWS_WITH(Segmenter::load(kTiny, wrong([](O one) { one.backend = "cuda"; })), says("there is no backend"));
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.threads = -1; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.threads = 1'000'000'000; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.limits.memory_mb = 0; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.limits.max_pixels = 0; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.detector_iou = 2; })), OptionError);
    CHECK_THROWS_AS(Segmenter::load(kTiny, wrong([](O one) { one.max_detections = 0; })), OptionError);
    CHECK_THROWS_WITH(Segmenter::load(kTiny, wrong([](O one) { one.engines = kTiny; })), says("--trust-engines"));
    CHECK_THROWS_WITH(Segmenter::load(kTiny, wrong([](O one) { one.trust_engines = true; })), says("Give that too"));
    CHECK_THROWS_WITH(Segmenter::load(kTiny, wrong([](O one) { one.engines = kTiny, one.backend = "openvino"; })),
                      says("Leave them out"));
    CHECK_NOTHROW(Segmenter::load(kTiny, wrong([](O one) { one.engines = kTiny, one.trust_engines = true; })));
    CHECK_THROWS_AS(Segmenter::load("none"), BundleError);
}

TEST_CASE("Masks go to the caller's memory, with gaps", "[backend]") {
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

TEST_CASE("Auto takes the first backend", "[backend]") {
    const Segmenter segmenter = Segmenter::load(kTiny);
    CHECK(segmenter.backend() == backends().front());
    CHECK(segmenter.fingerprint().size() == 64);
    CHECK(segmenter.logits_size() == std::pair(8, 8));
}
