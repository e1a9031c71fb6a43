#include "saving.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <set>
#include <system_error>

#include "clsclip_data.hpp"
#include "overlay.hpp"

namespace clsclip::tool {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

/// Under a temporary name, then renamed. Error.
template <class Bytes>
void write(const fs::path& path, const Bytes& bytes) {
    fs::path part = path;
    part += ".part";
    std::error_code error;
    {
        std::ofstream file(part, std::ios::binary | std::ios::trunc);
        file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        file.flush();
        if (file) {
            file.close();
            fs::rename(part, path, error);
        } else {
            error = std::make_error_code(std::errc::io_error);
        }
    }
    if (error) {
        std::error_code ignored;
        fs::remove(part, ignored);
        throw Error("cannot write " + path.string() + ": " + error.message() +
                    ". Give a folder that you may write to");
    }
}

/// A safe and distinct part of a file name for every word; bytes beyond ASCII stay.
std::vector<std::string> slugs(std::span<const std::string> words) {
    std::set<std::string> taken{"overlay", "labels"};
    std::vector<std::string> found;
    for (const std::string& word : words) {
        std::string base;
        for (const char one : word) {
            const auto byte = static_cast<unsigned char>(one);
            const bool plain = byte >= 0x80 || std::isalnum(byte) != 0;
            if (plain || (!base.empty() && base.back() != '-')) {
                base += plain ? static_cast<char>(byte < 0x80 ? std::tolower(byte) : byte) : '-';
            }
        }
        base = base.substr(0, 80);
        while (!base.empty() && base.back() == '-') {
            base.pop_back();
        }
        base = base.empty() ? "word" : base;
        std::string slug = base;
        for (int number = 2; !taken.insert(slug).second; ++number) {
            slug = base + "-" + std::to_string(number);
        }
        found.push_back(slug);
    }
    return found;
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

std::string coco_of(const Result& result, const fs::path& source) {
    Json document{{"images", {{{"id", 1}, {"file_name", source.filename().string()}, {"width", result.width()},
                               {"height", result.height()}}}}};
    document["annotations"] = Json::array();
    for (std::size_t at = 0; at < result.classes().size(); ++at) {
        const ClassResult one = result[at];
        document["categories"].push_back({{"id", at + 1}, {"name", one.name}});
        if (one.area > 0) {
            const RleMask rle = result.rle(at);
            document["annotations"].push_back(
                {{"id", document["annotations"].size() + 1}, {"image_id", 1}, {"category_id", at + 1},
                 {"iscrowd", 0}, {"area", one.area}, {"bbox", xywh(one.box)},
                 {"segmentation", {{"size", {rle.height, rle.width}}, {"counts", rle.counts}}},
                 {"score", or_null(one.presence)}});
        }
    }
    return document.dump(1, ' ', false, Json::error_handler_t::replace);
}

Json class_of(const Result& result, std::size_t at) {
    const ClassResult one = result[at];
    const double pixels = static_cast<double>(result.width()) * result.height();
    Json entry{{"name", one.name},
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

const std::vector<std::string>& known_formats() {
    static const std::vector<std::string> all{"png", "overlay", "coco"};
    return all;
}

std::vector<fs::path> save(const Result& result, const DecodedImage& image, const fs::path& source,
                           const fs::path& folder, const std::vector<std::string>& formats) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) {
        throw Error("cannot write to " + folder.string() + ": " + error.message() + ". Change --out");
    }
    const std::string stem = source.stem().string();
    std::vector<fs::path> written;
    const auto put = [&](const std::string& name, const auto& bytes) {
        const fs::path path = folder / name;
        if (fs::weakly_canonical(path, error) == fs::weakly_canonical(source, error)) {
            throw Error(path.string() + " is the picture itself and would be overwritten. Give another folder");
        }
        write(path, bytes);
        written.push_back(path);
    };
    for (const std::string& format : formats) {
        if (format == "overlay") {
            put(stem + "_overlay.png", png_of(overlay_of(image, result)));
        } else if (format == "coco") {
            put(stem + "_coco.json", coco_of(result, source));
        } else {
            const std::vector<std::string> names = slugs(result.classes());
            for (std::size_t at = 0; at < names.size(); ++at) {
                Mask mask = result.mask(at);
                for (std::uint8_t& pixel : mask.pixels) {
                    pixel = pixel != 0 ? 255 : 0;
                }
                put(stem + "_" + names[at] + ".png",
                    png_of({mask.width, mask.height, PixelFormat::gray, std::move(mask.pixels)}));
            }
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
