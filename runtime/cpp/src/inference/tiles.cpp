#include "inference/tiles.hpp"

#include "errors.hpp"

namespace clsclip {

namespace {

constexpr int kScale = 3;
constexpr double kOverlap = 0.25;

}  // namespace

void use_tiles(CallRequest& call, const Manifest& manifest, bool has_threshold) {
    if (call.zoom && call.zoom->boxes_as_masks) {
        fail<OptionError>("boxes_as_masks needs boxes of a detector or a person, and tiles are not boxes of things");
    }
    if (manifest.tiles) {
        call.tiles = *manifest.tiles;
    } else {
        call.tiles = TilesSpec{{kScale}, kOverlap, call.filter ? call.filter->threshold : 0};
        call.notes.push_back(text_of("the bundle has no values for tiles: ", kScale, " x ", kScale,
                                     " tiles, and the presence threshold of whole images"));
    }
    if (!call.filter) {
        call.notes.emplace_back(
            "tiles are searched for every class: without the presence filter expect pixels of absent classes");
    } else if (!has_threshold) {
        call.filter->in_tiles = call.tiles->presence_threshold;
    }
    if (call.zoom && *call.zoom != ZoomIn{}) {
        call.notes.emplace_back("options about crops of boxes have no effect on tiles");
    }
    call.zoom.reset();
}

}  // namespace clsclip
