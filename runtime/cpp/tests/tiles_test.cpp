/// Tiles and refined masks of the tiny bundle.
#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

namespace {

using Places = std::vector<std::string_view>;

/// In every backend of this build, one after another.
Segmenter loaded() {
    Options options;
    options.backend = GENERATE(from_range(backends()));
    options.threads = 1;
    return Segmenter::load(kTiny, options);
}

}  // namespace

TEST_CASE("Tiles are searched beside the whole image", "[backend]") {
    const Segmenter segmenter = loaded();
    const Scene scene;
    Request request;
    request.tiles = true;
    const Result result = segmenter(scene.view(), {"red", "blue"}, request);
    CHECK(result["red"].searched == Places{"whole-image", "tiles"});
    CHECK(result.region_count() == 9);
    CHECK(result.region_source() == "tiles");
    CHECK(result.matches().empty());
    CHECK_THAT(result.notes()[0], says("no values for tiles"));
    REQUIRE(result.instances().size() == 1);
    CHECK(result.instances()[0].window == Window{0, 0, 32, 32});
    CHECK_THROWS_WITH(result.instance_logits(0), says("found in tiles"));
    const Mask whole = segmenter(scene.view(), {"red"}).mask(0), both = result.mask(0);
    for (std::size_t at = 0; at < whole.pixels.size(); ++at) {
        if (whole.pixels[at] > both.pixels[at]) {
            FAIL("tiles took the pixel " << at << " away");
        }
    }
    // Without a detector zoom_in takes tiles.
    request.tiles = false;
    request.zoom_in = ZoomIn{};
    CHECK(segmenter(scene.view(), {"red", "blue"}, request).mask(0).pixels == both.pixels);
    request.regions = {{{4, 4, 20, 16}, "red", 1}};
    request.tiles = true;
    CHECK_THROWS_WITH(segmenter(scene.view(), {"red"}, request), says("not both"));
}

TEST_CASE("Refined logits have the size of the image", "[backend]") {
    const Segmenter segmenter = loaded();
    const Scene scene;
    Request request;
    request.refine = true;
    const Result result = segmenter(scene.view(), {"red", "blue"}, request);
    CHECK(result.logits_size() == std::pair(32, 32));
    CHECK(result.instance_logits(0).size() == 32 * 32);
    CHECK(result.status(0) == Status::found);
    request.tiles = true;
    const Result tiled = segmenter(scene.view(), {"red", "blue"}, request);
    CHECK(tiled.instance_logits(0).size() == 32 * 32);
    CHECK(tiled.timings().back().step == "refine");
}
