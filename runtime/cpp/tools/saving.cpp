#include "saving.hpp"

#include <cmath>
#include <span>

#include "clsclip_data.hpp"
#include "overlay.hpp"
#include "writing.hpp"

namespace clsclip::tool {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

template <class Bytes>
void write(const fs::path& path, const Bytes& bytes) {
    write_file(path, std::as_bytes(std::span(bytes)));
}

/// [x, y, width, height]; null where there is none.
Json xywh(const std::optional<Window>& box) {
    return box ? Json{box->left, box->top, box->width(), box->height()} : Json(nullptr);
}

double rounded(double value, double steps) {
    return std::round(value * steps) / steps;
}

Json or_null(const std::optional<float>& value) {
    return value ? Json(rounded(*value, 1e6)) : Json(nullptr);
}

std::vector<std::uint8_t> mask_png(const Result& result, std::size_t at) {
    Mask mask = result.mask(at);
    for (std::uint8_t& pixel : mask.pixels) {
        pixel = pixel != 0 ? 255 : 0;
    }
    return png_of({mask.width, mask.height, PixelFormat::gray, std::move(mask.pixels)});
}

Json class_of(const Result& result, std::size_t at) {
    const ClassResult one = result[at];
    const double pixels = static_cast<double>(result.width()) * result.height();
    Json entry{{"name", one.name},
               {"prompts", one.prompts},
               {"status", to_string(one.status)},
               {"reason", one.reason.empty() ? Json(nullptr) : Json(one.reason)},
               {"presence", or_null(one.presence)},
               {"area", one.area},
               {"area_percent", rounded(100.0 * static_cast<double>(one.area) / pixels, 1e4)},
               {"box", xywh(one.box)},
               {"searched", one.searched},
               {"match", nullptr}};
    if (!result.matches().empty()) {
        const ClassMatch& match = result.matches()[at];
        entry["match"] = {{"how", match.how}, {"names", match.names}};
        entry["match"]["similarity"] = match.similarity ? Json(*match.similarity) : Json(nullptr);
    }
    return entry;
}

Json instance_of(const Result& result, const Instance& one) {
    const auto number = [](float value) { return rounded(value, 1e2); };
    const Box& box = one.box;
    return {{"class", result.classes()[one.class_index]},
            {"box", {number(box.left), number(box.top), number(box.right - box.left), number(box.bottom - box.top)}},
            {"window", {one.window.left, one.window.top, one.window.right, one.window.bottom}},
            {"region_name", one.name ? Json(*one.name) : Json(nullptr)},
            {"score", rounded(one.score, 1e6)},
            {"presence", or_null(one.presence)},
            {"whole_image", one.whole_image}};
}

}  // namespace

void CocoDocument::add(const Result& result, const std::string& name) {
    const std::size_t image = images_.size() + 1;
    images_.push_back(
        {{"id", image}, {"file_name", name}, {"width", result.width()}, {"height", result.height()}});
    Json categories = Json::array();
    for (std::size_t at = 0; at < result.classes().size(); ++at) {
        const ClassResult one = result[at];
        categories.push_back({{"id", at + 1}, {"name", one.name}});
        if (one.area > 0) {
            const RleMask rle = result.rle(at);
            annotations_.push_back({{"id", annotations_.size() + 1}, {"image_id", image}, {"category_id", at + 1},
                                    {"iscrowd", 0}, {"area", one.area}, {"bbox", xywh(one.box)},
                                    {"segmentation", {{"size", {rle.height, rle.width}}, {"counts", rle.counts}}},
                                    {"score", or_null(one.presence)}});
        }
    }
    rest_ = {{"info", {{"description", "ClsCLIP masks by the model " + result.model()}}},
             {"categories", std::move(categories)}};
}

bool CocoDocument::write_to(const fs::path& path) const {
    if (images_.empty()) {
        return false;
    }
    Json document = rest_;
    document["images"] = images_;
    document["annotations"] = annotations_;
    write(path, document.dump(1, ' ', false, Json::error_handler_t::replace));
    return true;
}

const std::vector<std::string>& known_formats() {
    static const std::vector<std::string> all{"png", "overlay", "coco"};
    return all;
}

std::vector<fs::path> save(const Result& result, const DecodedImage& image, const Source& source, const Inputs& inputs,
                           const fs::path& folder, const std::vector<std::string>& formats) {
    std::vector<fs::path> written;
    for (const std::string& format : formats) {
        const std::vector<std::string> names = file_names(source.stem, result.classes(), format);
        inputs.refuse(names);
        for (std::size_t at = 0; at < names.size(); ++at) {
            const fs::path path = folder / names[at];
            if (format == "overlay") {
                write(path, png_of(overlay_of(image, result)));
            } else if (format == "coco") {
                CocoDocument document;
                document.add(result, source.path.filename().string());
                document.write_to(path);
            } else {
                write(path, mask_png(result, at));
            }
            written.push_back(path);
        }
    }
    return written;
}

Json report_of(const Result& result, const fs::path& source) {
    Json document{{"schema_version", nlohmann::json::parse(kFormatsJson).at("result_schema")}, {"source", source.string()}, {"width", result.width()},
                  {"height", result.height()},       {"model", result.model()},   {"backend", result.backend()},
                  {"backend_notes", result.backend_notes()}};
    document["presence_threshold"] = result.presence_threshold() ? Json(*result.presence_threshold()) : Json(nullptr);
    document["max_classes"] = result.max_classes() ? Json(*result.max_classes()) : Json(nullptr);
    document["mask_threshold"] = result.mask_threshold();
    for (std::size_t at = 0; at < result.classes().size(); ++at) {
        document["classes"].push_back(class_of(result, at));
    }
    document["regions"] = nullptr;
    if (result.region_count()) {
        document["regions"] = {{"source", result.region_source()}, {"count", *result.region_count()}};
    }
    document["instances"] = Json::array();
    for (const Instance& one : result.instances()) {
        document["instances"].push_back(instance_of(result, one));
    }
    document["notes"] = result.notes();
    document["timings_ms"] = Json::object();
    for (const Timing& timing : result.timings()) {
        document["timings_ms"][timing.step] = rounded(timing.milliseconds, 1e3);
    }
    return document;
}

}  // namespace clsclip::tool
