#include "clsclip/clsclip.h"

#include <cmath>
#include <cstring>

#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

extern "C" {
size_t c_size_of_options(void);
size_t c_size_of_request(void);
size_t c_size_of_instance(void);
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

TEST_CASE("C programs can use it", "[backend]") {
    CHECK(c_size_of_options() == sizeof(clsclip_options));
    CHECK(c_size_of_request() == sizeof(clsclip_request));
    CHECK(c_size_of_instance() == sizeof(clsclip_instance));
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

TEST_CASE("C results are read by number, and wrong numbers do no harm", "[backend]") {
    const Loaded loaded;
    const Scene scene;
    const clsclip_image image = image_of(scene);
    const char* words[] = {"red", "blue", "red"};
    clsclip_result* result = nullptr;
    REQUIRE(clsclip_set_image(loaded.segmenter, &image) == CLSCLIP_OK);
    REQUIRE(clsclip_predict(loaded.segmenter, words, 3, nullptr, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_class_count(result) == 2);
    CHECK(std::string(clsclip_result_class_name(result, 1)) == "blue");
    CHECK(clsclip_result_class_name(result, 2) == nullptr);
    CHECK(clsclip_result_status(result, 0) == CLSCLIP_FOUND);
    CHECK(clsclip_result_status(result, 1) == CLSCLIP_ABSENT);
    CHECK(clsclip_result_status(result, 7) == -1);
    CHECK(std::string(clsclip_result_reason(result, 0)).empty());
    CHECK(std::string(clsclip_result_reason(result, 1)) == "presence below 0.90");
    CHECK(clsclip_result_reason(result, 7) == nullptr);
    CHECK(clsclip_result_presence(result, 0) == Approx(1).margin(1e-5));
    CHECK(std::isnan(clsclip_result_presence(result, 9)));
    CHECK(clsclip_result_searched(result, 0) == CLSCLIP_IN_WHOLE_IMAGE);
    CHECK(clsclip_result_searched(result, 9) == -1);
    std::int64_t area = 0;
    CHECK(clsclip_result_area(result, 0, &area) == CLSCLIP_OK);
    CHECK(area == 140);
    std::size_t needed = 0;
    CHECK(clsclip_result_rle(result, 0, nullptr, 0, &needed) == CLSCLIP_OPTION_ERROR);
    std::vector<char> counts(needed);
    CHECK(clsclip_result_rle(result, 0, counts.data(), counts.size(), nullptr) == CLSCLIP_OK);
    CHECK(std::strlen(counts.data()) + 1 == needed);
    CHECK(clsclip_result_rle(result, 0, counts.data(), counts.size() - 1, nullptr) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_result_instance_count(result) == 1);
    clsclip_instance instance{};
    CHECK(clsclip_result_instance(result, 0, &instance) == CLSCLIP_OPTION_ERROR);  // its size is not told
    instance.size = sizeof instance;
    CHECK(clsclip_result_instance(result, 0, &instance) == CLSCLIP_OK);
    CHECK(instance.whole_image == 1);
    CHECK(instance.window_right == 32);
    CHECK(clsclip_result_instance(result, 1, &instance) == CLSCLIP_OPTION_ERROR);
    CHECK(clsclip_result_note_count(result) == 2);  // and that nobody validated the model
    CHECK(std::string(clsclip_result_note(result, 0)) == "'red' was asked 2 times and is reported once");
    CHECK(clsclip_result_timing_step(result, 99) == nullptr);
    clsclip_result_free(result);
}

TEST_CASE("C structs of older and newer programs are read as far as they go", "[backend]") {
    const Loaded loaded;
    const Scene scene;
    const clsclip_image image = image_of(scene);
    const char* words[] = {"blue"};
    clsclip_result* result = nullptr;
    clsclip_request request;
    clsclip_request_init(&request, offsetof(clsclip_request, zoom_in));  // a program that knows the first members alone
    request.presence_threshold = 0;
    request.zoom_in = 12345;
    REQUIRE(clsclip_segment(loaded.segmenter, &image, words, 1, &request, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_status(result, 0) == CLSCLIP_EMPTY);
    clsclip_result_free(result);
    struct {
        clsclip_request known;
        double later[4];
    } newer{};
    clsclip_request_init(&newer.known, sizeof newer);
    REQUIRE(clsclip_segment(loaded.segmenter, &image, words, 1, &newer.known, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_status(result, 0) == CLSCLIP_ABSENT);
    clsclip_result_free(result);
    request.size = 0;
    CHECK(clsclip_segment(loaded.segmenter, &image, words, 1, &request, &result) == CLSCLIP_OPTION_ERROR);
}

TEST_CASE("C requests carry the presence filter and the fallback", "[backend]") {
    const Loaded loaded;
    const Scene scene;
    const clsclip_image image = image_of(scene);
    const char* words[] = {"green", "red", "blue"};
    clsclip_result* result = nullptr;
    clsclip_request request;
    clsclip_request_init(&request, sizeof request);
    CHECK(request.presence_filter == -1);
    request.max_classes = 1;
    request.presence_threshold = 0;
    REQUIRE(clsclip_segment(loaded.segmenter, &image, words, 3, &request, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_status(result, 2) == CLSCLIP_FILTERED);
    CHECK(std::string(clsclip_result_reason(result, 2)) == "outside the top 1");
    clsclip_result_free(result);
    clsclip_request_init(&request, sizeof request);
    request.presence_filter = 0;
    REQUIRE(clsclip_segment(loaded.segmenter, &image, words, 3, &request, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_status(result, 2) == CLSCLIP_EMPTY);
    CHECK(std::isnan(clsclip_result_presence(result, 0)));
    clsclip_result_free(result);
    const clsclip_box box{0, 0, 8, 8, "red", 1};
    clsclip_request_init(&request, sizeof request);
    request.boxes = &box;
    request.box_count = 1;
    request.fallback = CLSCLIP_NONE;
    REQUIRE(clsclip_segment(loaded.segmenter, &image, words, 3, &request, &result) == CLSCLIP_OK);
    CHECK(clsclip_result_searched(result, 0) == 0);
    CHECK(std::string(clsclip_result_reason(result, 0)) == "no region");
    CHECK(clsclip_result_searched(result, 1) == CLSCLIP_IN_REGIONS);
    clsclip_result_free(result);
    request.fallback = 7;
    CHECK(clsclip_segment(loaded.segmenter, &image, words, 3, &request, &result) == CLSCLIP_OPTION_ERROR);
    request.max_classes = -1;
    CHECK(clsclip_segment(loaded.segmenter, &image, words, 3, &request, &result) == CLSCLIP_OPTION_ERROR);
}

TEST_CASE("C failures have a status and a sentence", "[backend]") {
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
    CHECK(clsclip_result_class_name(nullptr, 0) == nullptr);
    clsclip_result_free(nullptr);
    clsclip_segmenter_free(nullptr);
}
