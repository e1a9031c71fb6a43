#include "bundle/manifest.hpp"

#include <algorithm>
#include <limits>

#include "bundle/section.hpp"
#include "errors.hpp"

namespace clsclip {

namespace {

constexpr std::int64_t kSchemaVersion = 1;
constexpr std::int64_t kMostDetectorPixels = std::int64_t{1} << 27;
constexpr std::int64_t kMostToken = std::int64_t{1} << 31;

DetectorSpec read_detector(const Section& section) {
    DetectorSpec spec;
    spec.layout = section.choice(
        "layout", {"yolov5", "yolov7-nms", "tensorrt-nms", "yolov8", "yolov10", "yolox", "yolox-decoded"});
    spec.names = section.class_names("names");
    spec.height = static_cast<int>(section.integer("height", 32, 8192));
    spec.width = static_cast<int>(section.integer("width", 32, 8192));
    spec.colours = section.choice("colours", {"rgb", "bgr"});
    spec.white = section.number("white", 0, 65535, false);
    spec.place = section.choice("place", {"centre", "top-left"});
    const Json& batch = section.get("batch");
    if (!batch.is_null()) {
        spec.batch = static_cast<int>(section.integer("batch", 1, 1024));
    }
    spec.input_type = section.choice("input_type", {"float32", "float16"});
    spec.agnostic = section.flag("agnostic");
    (void)section.text("licence");
    if (std::int64_t{spec.height} * spec.width * spec.batch.value_or(1) > kMostDetectorPixels) {
        section.bad("batch", text_of("such that one call has at most ", kMostDetectorPixels, " pixels"), batch);
    }
    return spec;
}

std::map<std::string, FileEntry> read_files(const Section& entries) {
    std::map<std::string, FileEntry> files;
    for (const auto& [name, unused] : entries.data().items()) {
        check_file_name(name);
        const Section entry = entries.section(name);
        std::string digest = entry.text("sha256");
        std::transform(digest.begin(), digest.end(), digest.begin(),
                       [](char one) { return one >= 'A' && one <= 'Z' ? static_cast<char>(one - 'A' + 'a') : one; });
        if (digest.size() != 64 || digest.find_first_not_of("0123456789abcdef") != std::string::npos) {
            entry.bad("sha256", "64 hexadecimal digits", digest);
        }
        const std::int64_t bytes = entry.integer("bytes", 0, std::numeric_limits<std::int64_t>::max());
        files.emplace(name, FileEntry{digest, static_cast<std::uint64_t>(bytes)});
    }
    return files;
}

/// A whole number above 0 that only helps; anything else is as if it were not there.
std::optional<int> helpful(const Section& section, std::string_view key) {
    const auto found = section.data().find(key);
    if (found == section.data().end() || !found->is_number_integer()) {
        return std::nullopt;
    }
    const auto value = found->get<std::int64_t>();
    return value > 0 && value <= 1 << 20 ? std::optional<int>(static_cast<int>(value)) : std::nullopt;
}

}  // namespace

void check_file_name(std::string_view name) {
    bool unsafe = name.empty() || name.front() == '/';
    // The characters have a meaning on some system, or (the star) to an engine.
    unsafe = unsafe || name.find_first_of("\\:*?\"<>|") != std::string_view::npos;
    unsafe = unsafe || std::any_of(name.begin(), name.end(), [](char one) {
        const auto byte = static_cast<unsigned char>(one);
        return byte < 32 || byte == 127;
    });
    for (std::size_t start = 0; !unsafe && start <= name.size();) {
        const std::size_t end = std::min(name.find('/', start), name.size());
        const std::string_view part = name.substr(start, end - start);
        unsafe = part.empty() || part == "." || part == "..";
        start = end + 1;
    }
    if (unsafe) {
        fail<BundleError>("the bundle names the file ", Json(name).dump(-1, ' ', true, Json::error_handler_t::replace),
                          ", which is not a plain path inside the bundle's folder, so it is refused. Get the bundle "
                          "again from a source you trust, or export it again with clsclip-export");
    }
}

Manifest parse_manifest(std::string_view document) {
    Json data;
    try {
        data = parse_json(document);
    } catch (const Json::exception& error) {
        fail<BundleError>("manifest.json is not valid JSON (", one_line(error.what(), 200),
                          "). The bundle is damaged: get it again or export it again");
    }
    const Section top(data);
    const std::int64_t version = top.integer("schema_version", 1, std::int64_t{1} << 31);
    if (version > kSchemaVersion) {
        fail<BundleError>("the bundle has schema version ", version, ", and this clsclip reads versions up to ",
                          kSchemaVersion, ". Upgrade clsclip, or export the bundle again with this version");
    }
    const Section image = top.section("image"), text = top.section("text"), mask = top.section("mask");
    const Section model = top.section("model");
    Manifest manifest;
    manifest.name = top.text("name");
    manifest.licence = top.section("licence").text("weights");
    manifest.precision = top.text("precision");
    manifest.patch_size = helpful(model, "patch_size");
    manifest.width = helpful(model, "width");
    manifest.image.size = static_cast<int>(image.integer("size", 1, 8192));
    manifest.image.mean = image.channels("mean", false);
    manifest.image.std = image.channels("std", true);
    manifest.image.resize = image.choice("resize", {"squash"});
    manifest.image.filter = image.choice("filter", {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"});
    manifest.text.context_length = static_cast<int>(text.integer("context_length", 1, 65536));
    manifest.text.templates = text.templates("templates");
    manifest.text.pad_token_id = text.integer("pad_token_id", 0, kMostToken);
    manifest.mask.threshold = mask.number("threshold", 0, 1, false);
    manifest.mask.height = static_cast<int>(mask.integer("height", 1, 8192));
    manifest.mask.width = static_cast<int>(mask.integer("width", 1, 8192));
    if (!top.get("presence").is_null()) {
        manifest.presence_threshold = top.section("presence").number("threshold", 0, 1, true);
    }
    const auto description = data.find("description");
    if (description != data.end() && !description->is_string()) {
        top.bad("description", "a text", *description);
    }
    manifest.files = read_files(top.section("files"));
    if (!top.lacks("detector")) {
        manifest.detector = read_detector(top.section("detector"));
    }
    return manifest;
}

}  // namespace clsclip
