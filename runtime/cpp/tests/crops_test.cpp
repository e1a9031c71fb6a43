#include "regions/crops.hpp"

#include <cmath>
#include <limits>
#include <random>

#include "regions/proposals.hpp"
#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

TEST_CASE("A window is its box with a margin, in whole pixels") {
    const std::vector<Box> boxes{{10, 20, 60, 40}};
    const auto windows = crop_windows(boxes, 100, 100, {});
    REQUIRE(windows.size() == 1);
    CHECK(windows[0].window == Window{5, 18, 65, 42});
}

TEST_CASE("Small boxes get the smallest side, moved inwards at the edges") {
    const std::vector<Box> boxes{{0, 0, 2, 2}, {98, 98, 100, 100}, {50, 50, 51, 51}};
    const auto windows = crop_windows(boxes, 100, 100, {});
    REQUIRE(windows.size() == 3);
    CHECK(windows[0].window == Window{0, 0, 16, 16});
    CHECK(windows[1].window == Window{84, 84, 100, 100});
    CHECK(windows[2].window.width() == 16);
}

TEST_CASE("Boxes of nothing have no window") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<Box> boxes{{5, 5, 5, 9}, {9, 9, 5, 5}, {-9, -9, 0, 0}, {nan, 0, 5, 5}, {200, 0, 300, 50}};
    CHECK(crop_windows(boxes, 100, 100, {}).empty());
    CHECK(box_windows(boxes, 100, 100).empty());
}

TEST_CASE("Windows are never empty and always inside, whatever the boxes") {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> corner(-50, 250);
    std::uniform_int_distribution<int> side(1, 200);
    for (int round = 0; round < 20000; ++round) {
        const int width = side(random), height = side(random);
        const ZoomIn zoom{std::abs(corner(random)) / 25, side(random), Fallback::none, false, false};
        const std::vector<Box> boxes{{corner(random), corner(random), corner(random), corner(random)}};
        for (const auto& [window, box] : crop_windows(boxes, width, height, zoom)) {
            const bool fits = window.left >= 0 && window.top >= 0 && window.right <= width &&
                              window.bottom <= height && window.width() >= std::min(zoom.min_crop_size, width) &&
                              window.height() >= std::min(zoom.min_crop_size, height);
            if (!fits) {
                FAIL(window.left << " " << window.top << " " << window.right << " " << window.bottom);
            }
        }
    }
}

TEST_CASE("Masks may reach over their boxes by the margin, and never out of their windows") {
    const Box box{20, 30, 40, 70};
    const Window window{10, 10, 50, 80};
    CHECK(mask_limit(box, window, 100, 80, 0.1) == Window{18, 26, 42, 74});
    CHECK(mask_limit(box, window, 100, 80, 0) == Window{20, 30, 40, 70});
    CHECK(mask_limit(box, window, 100, 80, 2) == window);
    CHECK(mask_limit({-1000, 30, 20, 70}, {0, 10, 50, 80}, 100, 80, 0.1) == Window{0, 26, 22, 74});
}

TEST_CASE("Values of zoom_in that make no sense are refused") {
    CHECK_THROWS_AS(check_zoom({-0.1, 16, Fallback::none, false, false}), OptionError);
    CHECK_THROWS_AS(check_zoom({std::nan(""), 16, Fallback::none, false, false}), OptionError);
    CHECK_THROWS_AS(check_zoom({0.1, 0, Fallback::none, false, false}), OptionError);
    CHECK_THROWS_AS(check_zoom({.mask_threshold = 0}), OptionError);
    CHECK_THROWS_AS(check_zoom({.mask_margin = std::nan("")}), OptionError);
}

TEST_CASE("Boxes that may be anything are those without a name, or of a thing") {
    const std::vector<GivenBox> given{
        {{0, 0, 1, 1}, "dog", 1}, {{0, 0, 1, 1}, "", 1}, {{0, 0, 1, 1}, "object", 0.5F}, {{0, 0, 1, 1}, "dog", 1}};
    const Proposals proposals = Proposals::from_boxes(given, 4, 4);
    CHECK(proposals.classes == std::vector<int>{0, kAny, kAny, 0});
    CHECK(proposals.names == std::vector<std::string>{"dog"});
    CHECK_THROWS_AS(Proposals::from_boxes(std::vector<GivenBox>{{{0, 0, 1, 1}, "", 1.5F}}, 4, 4), OptionError);
    CHECK_THROWS_AS(Proposals::from_boxes(std::vector<GivenBox>{{{0, 0, 1, 1}, "a\x1b[2J", 1}}, 4, 4), OptionError);
}

TEST_CASE("Boxes that are not xyxy in pixels are refused, and those that end far beyond the image are noted") {
    const auto of = [](const Box& box) { return Proposals::from_boxes(std::vector<GivenBox>{{box, "", 1}}, 64, 48); };
    CHECK_THROWS_AS(of({30, 20, 10, 40}), OptionError);
    CHECK_THROWS_AS(of({0.1F, 0.2F, 0.4F, 1.0F}), OptionError);
    CHECK(of({10, 10, 10, 20}).notes.empty());
    CHECK(of({-5, -5, 70, 50}).notes.empty());
    REQUIRE(of({30, 20, 90, 30}).notes.size() == 1);
    CHECK(of({30, 20, 90, 30}).notes[0].starts_with("1 of 1 boxes end far beyond the image of 64x48 pixels"));
}

TEST_CASE("Boxes far beyond float's exact integers are cut like others") {
    const Proposals proposals = Proposals::from_boxes(std::vector<GivenBox>{{{-3e38F, -3e38F, 3e38F, 3e38F}, "", 1}}, 64, 48);
    const auto windows = crop_windows(proposals.boxes, 64, 48, {});
    REQUIRE(windows.size() == 1);
    CHECK(windows[0].window == Window{0, 0, 64, 48});
}
