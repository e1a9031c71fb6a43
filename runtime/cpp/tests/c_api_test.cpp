#include "clsclip/clsclip.h"

#include <cmath>
#include <cstring>

#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

extern "C" {
size_t c_size_of_options(void);
size_t c_size_of_ask(void);
size_t c_size_of_region(void);
int c_use(const char* bundle, const clsclip_image* image, uint8_t* mask);
}

namespace {

clsclip_image image_of(const Scene& scene) {
    return {scene.pixels.data(), Scene::kSide, Scene::kSide, 3 * Scene::kSide, CLSCLIP_RGB};
}

/// A loaded segmenter, freed at the end.
struct Loaded {
    clsclip_segmenter* segmenter = nullptr;
    Loaded() { REQUIRE(clsclip_load(kTiny.c_str(), nullptr, &segmenter) == CLSCLIP_OK); }
    ~Loaded() { clsclip_segmenter_free(segmenter); }
};

}  // namespace

TEST_CASE("C programs can use it", "[engine]") {
    CHECK(c_size_of_options() == sizeof(clsclip_options));
    CHECK(c_size_of_ask() == sizeof(clsclip_ask));
    CHECK(c_size_of_region() == sizeof(clsclip_region));
    const Scene scene;
    const clsclip_image image = image_of(scene);
    Mask mask{32, 32, std::vector<std::uint8_t>(32 * 32)};
    CHECK(c_use(kTiny.c_str(), &image, mask.pixels.data()) == 0);
    CHECK(is_window(mask, {5, 5, 19, 15}));
    CHECK(clsclip_api_version() == CLSCLIP_API_VERSION);
    CHECK(std::string(clsclip_version()) == version());
    CHECK(clsclip_backend_count() == backends().size());
    CHECK(clsclip_backend_name(clsclip_backend_count()) == nullptr);
}

TEST_CASE("C results are read by number, and wrong numbers do no harm", "[engine]") {
    const Loaded loaded;
    const Scene scene;
    const clsclip_image image = image_of(scene);
    const char* words[] = {"red", "blue", "red"};
    clsclip_result* result = nullptr;
    REQUIRE(clsclip_set_image(loaded.segmenter, &image) == CLSCLIP_OK);
    REQUIRE(clsclip_predict(loaded.segmenter, words, 3, nullptr, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_word_count(result) == 2);
    CHECK(std::string(clsclip_result_word(result, 1)) == "blue");
    CHECK(clsclip_result_word(result, 2) == nullptr);
    CHECK(clsclip_result_present(result, 0) == 1);
    CHECK(clsclip_result_present(result, 7) == 0);
    CHECK(clsclip_result_presence(result, 0) == Approx(1).margin(1e-5));
    CHECK(std::isnan(clsclip_result_presence(result, 9)));
    CHECK(std::string(clsclip_result_looked_at(result, 0)) == "whole image");
    CHECK(clsclip_result_looked_at(result, 9) == nullptr);
    std::int64_t area = 0;
    CHECK(clsclip_result_area(result, 0, &area) == CLSCLIP_OK);
    CHECK(area == 140);
    std::size_t needed = 0;
    CHECK(clsclip_result_rle(result, 0, nullptr, 0, &needed) == CLSCLIP_OPTION_ERROR);
    std::vector<char> counts(needed);
    CHECK(clsclip_result_rle(result, 0, counts.data(), counts.size(), nullptr) == CLSCLIP_OK);
    CHECK(std::strlen(counts.data()) + 1 == needed);
    CHECK(clsclip_result_rle(result, 0, counts.data(), counts.size() - 1, nullptr) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_result_region_count(result) == 1);
    clsclip_region region{};
    CHECK(clsclip_result_region(result, 0, &region) == CLSCLIP_OPTION_ERROR);  // its size is not told
    region.size = sizeof region;
    CHECK(clsclip_result_region(result, 0, &region) == CLSCLIP_OK);
    CHECK(region.whole_image == 1);
    CHECK(region.window_right == 32);
    CHECK(clsclip_result_region(result, 1, &region) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_result_note_count(result) == 1);
    CHECK(std::string(clsclip_result_note(result, 0)) == "'red' was asked 2 times and is reported once");
    CHECK(clsclip_result_timing_step(result, 99) == nullptr);
    clsclip_result_free(result);
}

TEST_CASE("C structs of older and newer programs are read as far as they go", "[engine]") {
    const Loaded loaded;
    const Scene scene;
    const clsclip_image image = image_of(scene);
    const char* words[] = {"blue"};
    clsclip_result* result = nullptr;
    clsclip_ask ask;
    clsclip_ask_init(&ask, offsetof(clsclip_ask, zoom_in));  // a program that knows the first members alone
    ask.presence_threshold = 0;
    ask.zoom_in = 12345;
    REQUIRE(clsclip_segment(loaded.segmenter, &image, words, 1, &ask, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_present(result, 0) == 1);
    clsclip_result_free(result);
    struct {
        clsclip_ask known;
        double later[4];
    } newer{};
    clsclip_ask_init(&newer.known, sizeof newer);
    REQUIRE(clsclip_segment(loaded.segmenter, &image, words, 1, &newer.known, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_present(result, 0) == 0);
    clsclip_result_free(result);
    ask.size = 0;
    CHECK(clsclip_segment(loaded.segmenter, &image, words, 1, &ask, &result) == CLSCLIP_OPTION_ERROR);
}

TEST_CASE("C failures have a status and a sentence", "[engine]") {
    clsclip_segmenter* segmenter = nullptr;
    CHECK(clsclip_load("none", nullptr, &segmenter) == CLSCLIP_BUNDLE_ERROR);
    CHECK(std::string(clsclip_last_error()).find("no such bundle: none") == 0);
    CHECK(clsclip_load(nullptr, nullptr, &segmenter) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_load(kTiny.c_str(), nullptr, nullptr) == CLSCLIP_OPTION_ERROR);
    CHECK(segmenter == nullptr);
    const Loaded loaded;
    const Scene scene;
    clsclip_image image = image_of(scene);
    const char* words[] = {"red", nullptr};
    const char* empty[] = {" "};
    clsclip_result* result = nullptr;
    CHECK(clsclip_segment(loaded.segmenter, &image, words, 2, nullptr, &result) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_segment(loaded.segmenter, &image, empty, 1, nullptr, &result) == CLSCLIP_WORD_ERROR);
    CHECK(clsclip_segment(loaded.segmenter, &image, nullptr, 0, nullptr, &result) == CLSCLIP_WORD_ERROR);
    CHECK(clsclip_segment(loaded.segmenter, &image, nullptr, 1, nullptr, &result) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_segment(loaded.segmenter, nullptr, words, 1, nullptr, &result) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_segment(nullptr, &image, words, 1, nullptr, &result) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_predict(loaded.segmenter, words, 1, nullptr, &result) == CLSCLIP_OPTION_ERROR);
    image.format = 77;
    CHECK(clsclip_segment(loaded.segmenter, &image, words, 1, nullptr, &result) == CLSCLIP_IMAGE_ERROR);
    CHECK(result == nullptr);
    CHECK(clsclip_result_width(nullptr) == 0);
    CHECK(clsclip_result_word(nullptr, 0) == nullptr);
    clsclip_result_free(nullptr);
    clsclip_segmenter_free(nullptr);
}
