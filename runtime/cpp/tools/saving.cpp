#include "saving.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <set>
#include <system_error>

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

/// [x, y, width, height] of a mask's pixels; null where it has none.
Json bounding_box(const Mask& mask) {
    int left = mask.width, top = mask.height, right = -1, bottom = -1;
    for (int y = 0; y < mask.height; ++y) {
        const auto row = mask.row(y);
        const auto first = std::find(row.begin(), row.end(), 1);
        if (first != row.end()) {
            left = std::min(left, static_cast<int>(first - row.begin()));
            const auto last = std::find(row.rbegin(), row.rend(), 1);
            right = std::max(right, static_cast<int>(row.rend() - last) - 1);
            top = std::min(top, y);
            bottom = y;
        }
    }
    return right < 0 ? Json(nullptr) : Json{left, top, right - left + 1, bottom - top + 1};
}

double rounded(double value, double steps) {
    return std::round(value * steps) / steps;
}

Json presence_of(const Result& result, std::size_t word) {
    const bool known = word < result.presence().size() && !std::isnan(result.presence()[word]);
    return known ? Json(rounded(result.presence()[word], 1e6)) : Json(nullptr);
}

std::string coco_of(const Result& result, const fs::path& source) {
    Json document{{"images", {{{"id", 1}, {"file_name", source.filename().string()}, {"width", result.width()},
                               {"height", result.height()}}}}};
    for (std::size_t word = 0; word < result.words().size(); ++word) {
        document["categories"].push_back({{"id", word + 1}, {"name", result.words()[word]}});
    }
    document["annotations"] = Json::array();
    for (std::size_t word = 0; word < result.words().size(); ++word) {
        const std::int64_t area = result.area(word);
        if (area > 0) {
            const Rle rle = result.rle(word);
            document["annotations"].push_back(
                {{"id", document["annotations"].size() + 1}, {"image_id", 1}, {"category_id", word + 1},
                 {"iscrowd", 0}, {"area", area}, {"bbox", bounding_box(result.mask(word))},
                 {"segmentation", {{"size", {rle.height, rle.width}}, {"counts", rle.counts}}},
                 {"score", presence_of(result, word)}});
        }
    }
    return document.dump(1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

const std::vector<std::string>& known_formats() {
    static const std::vector<std::string> all{"png", "overlay", "coco"};
    return all;
}

std::vector<fs::path> save(const Result& result, const Picture& picture, const fs::path& source,
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
            put(stem + "_overlay.png", png_of(overlay_of(picture, result)));
        } else if (format == "coco") {
            put(stem + "_coco.json", coco_of(result, source));
        } else {
            const std::vector<std::string> names = slugs(result.words());
            for (std::size_t word = 0; word < names.size(); ++word) {
                Mask mask = result.mask(word);
                for (std::uint8_t& pixel : mask.pixels) {
                    pixel = pixel != 0 ? 255 : 0;
                }
                put(stem + "_" + names[word] + ".png",
                    png_of({mask.width, mask.height, PixelFormat::grey, std::move(mask.pixels)}));
            }
        }
    }
    return written;
}

Json report_of(const Result& result, const fs::path& source) {
    Json document{{"source", source.string()}, {"width", result.width()}, {"height", result.height()},
                  {"model", result.model()},   {"backend", result.backend()}};
    document["presence_threshold"] = result.presence_threshold() ? Json(*result.presence_threshold()) : Json(nullptr);
    const double pixels = static_cast<double>(result.width()) * result.height();
    for (std::size_t word = 0; word < result.words().size(); ++word) {
        const Mask mask = result.mask(word);
        const auto area = std::count(mask.pixels.begin(), mask.pixels.end(), 1);
        const char* verdict = !result.present(word) ? "absent" : area > 0 ? "found" : "no pixels";
        Json entry{{"word", result.words()[word]},
                   {"presence", presence_of(result, word)},
                   {"present", result.present(word)},
                   {"verdict", verdict},
                   {"area", area},
                   {"area_percent", rounded(100.0 * static_cast<double>(area) / pixels, 1e4)},
                   {"box", bounding_box(mask)}};
        if (!result.matches().empty()) {
            const WordMatch& match = result.matches()[word];
            entry["looked_at"] = result.looked_at(word);
            entry["match"] = {{"how", match.how}, {"names", match.names}};
            entry["match"]["similarity"] = match.similarity ? Json(*match.similarity) : Json(nullptr);
        }
        document["classes"].push_back(std::move(entry));
    }
    document["notes"] = result.notes();
    for (const Timing& timing : result.timings()) {
        document["timings_ms"][timing.step] = rounded(timing.milliseconds, 1e3);
    }
    return document;
}

}  // namespace clsclip::tool
