#include "bundle/manifest.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include "bundle/section.hpp"
#include "bundle/trust.hpp"
#include "errors.hpp"
#include "shared_data.hpp"
#include "unicode/names.hpp"

namespace clsclip {

namespace {

/// One of the largest values and longest lists of a manifest.
std::int64_t limit(const char* name) {
    return formats().at("limits").at(name).get<std::int64_t>();
}

constexpr std::int64_t kMostDetectorPixels = std::int64_t{1} << 25;
constexpr std::int64_t kMostToken = std::int64_t{1} << 31;
constexpr std::size_t kMostAxes = 8;
constexpr std::int64_t kMostBytes = std::int64_t{1} << 53;
constexpr std::int64_t kMostInProfile = 65536;
constexpr std::size_t kMostScales = 4;  ///< of tiles
constexpr double kMostConfidence = 50;
constexpr std::int64_t kMostTiles = 8;  ///< along a side
constexpr double kMostBias = 1e9;       ///< of the test of a domain

DetectorSpec read_detector(const Section& section) {
    DetectorSpec spec;
    spec.output_format = section.choice("output_format", texts_at(formats(), "/detector/output_formats"));
    spec.names = section.class_names("names");
    spec.height = static_cast<int>(section.integer("height", 32, 8192));
    spec.width = static_cast<int>(section.integer("width", 32, 8192));
    spec.channel_order = section.choice("channel_order", texts_at(formats(), "/detector/channel_orders"));
    spec.input_scale = section.number("input_scale", 0, 65535, false);
    spec.letterbox = section.choice("letterbox", texts_at(formats(), "/detector/letterboxes"));
    const Json& batch = section.get("batch");
    if (!batch.is_null()) {
        spec.batch = static_cast<int>(section.integer("batch", 1, 1024));
    }
    spec.input_type = section.choice("input_type", texts_at(formats(), "/detector/input_types"));
    spec.class_agnostic = section.flag("class_agnostic");
    (void)section.text("license");
    if (std::int64_t{spec.height} * spec.width * spec.batch.value_or(1) > kMostDetectorPixels) {
        section.bad("batch", text_of("such that one call has at most ", kMostDetectorPixels, " pixels"), batch);
    }
    return spec;
}

bool is_feature_name(const std::string& name) {
    const auto letter = [](char one) {
        return (one >= 'a' && one <= 'z') || (one >= 'A' && one <= 'Z') || one == '_';
    };
    return !name.empty() && name.size() <= 64 && letter(name[0]) &&
           std::all_of(name.begin(), name.end(), [&](char one) { return letter(one) || (one >= '0' && one <= '9'); });
}

/// The axes behind the first, which may be none.
Shape read_shape(const Section& section) {
    const Json& value = section.get("shape");
    if (!value.is_array() || value.size() > kMostAxes) {
        section.bad("shape", text_of("a list of at most ", kMostAxes, " whole numbers"), value);
    }
    Shape shape;
    std::int64_t values = 1;
    const std::int64_t most = limit("feature_values");
    for (const Json& axis : value) {
        const bool fits = axis.is_number_integer() && axis.get<std::int64_t>() >= 1 &&
                          axis.get<std::int64_t>() <= most && !(axis.is_number_unsigned() && axis > most);
        if (!fits || (values *= axis.get<std::int64_t>()) > most) {
            section.bad("shape", text_of("whole numbers of 1 or more whose product is at most ", most), value);
        }
        shape.push_back(axis.get<std::int64_t>());
    }
    return shape;
}

/// `features` of crops or of words; adds their names to `taken`.
std::vector<FeatureSpec> read_features(const Section& owner, std::set<std::string>& taken) {
    std::vector<FeatureSpec> features;
    for (const Section& section : owner.objects("features", 1, static_cast<std::size_t>(limit("features")))) {
        FeatureSpec feature;
        feature.name = section.text("name");
        if (!is_feature_name(feature.name)) {
            section.bad("name", "a name of letters, digits and underscores", section.get("name"));
        }
        if (!taken.insert(feature.name).second) {
            section.bad("name", "a name that no other feature and no fixed input or output has", section.get("name"));
        }
        feature.shape = read_shape(section);
        (void)section.choice("dtype", texts_at(formats(), "/dtypes"));
        for (const std::string& user : section.choices("needed_by", {"trunk", "presence"})) {
            (user == "trunk" ? feature.for_trunk : feature.for_presence) = true;
        }
        feature.unit_norm = !section.lacks("unit_norm") && section.flag("unit_norm");
        if (feature.unit_norm && feature.shape.size() != 1) {
            section.bad("unit_norm", "false where the feature is not one vector", section.get("unit_norm"));
        }
        features.push_back(std::move(feature));
    }
    return features;
}

TextSpec read_text(const Section& section, std::set<std::string>& taken) {
    TextSpec text;
    text.context_length = static_cast<int>(section.integer("context_length", 1, limit("context_length")));
    text.templates = section.templates("templates", static_cast<std::size_t>(limit("templates")),
                                        static_cast<std::size_t>(limit("template_characters")));
    text.pad_token_id = section.integer("pad_token_id", 0, kMostToken);
    text.features = read_features(section, taken);
    const bool vectors = std::all_of(text.features.begin(), text.features.end(),
                                     [](const FeatureSpec& one) { return one.shape.size() == 1; });
    if (!vectors && text.templates.size() != 1) {
        section.bad("templates", "exactly one template where a word is not one vector", section.get("templates"));
    }
    if (!section.lacks("matching")) {
        text.matching = section.text("matching");
        const bool fits = std::any_of(text.features.begin(), text.features.end(), [&](const FeatureSpec& one) {
            return one.name == *text.matching && one.unit_norm;
        });
        if (!fits) {
            section.bad("matching", "the name of a text feature of unit norm", section.get("matching"));
        }
    }
    return text;
}

PresenceSpec read_presence(const Section& section) {
    PresenceSpec presence;
    presence.from_trunk = section.choice("from", {"filter", "trunk"}) == "trunk";
    presence.as_logit = section.choice("form", {"probability", "logit"}) == "logit";
    presence.threshold = section.number("threshold", 0, 1, true);
    if (!section.lacks("least_confidence")) {
        presence.least_confidence = section.number("least_confidence", 0, kMostConfidence, true);
    }
    return presence;
}

TilesSpec read_tiles(const Section& section) {
    const Json& value = section.get("scales");
    const bool whole = value.is_array() && value.size() <= kMostScales &&
                       std::all_of(value.begin(), value.end(), [](const Json& one) {
                           return one.is_number_integer() && one >= 1 && one <= kMostTiles;
                       });
    if (!whole) {
        section.bad("scales", text_of("a list of at most ", kMostScales, " whole numbers from 1 to ", kMostTiles), value);
    }
    TilesSpec tiles;
    tiles.scales = value.get<std::vector<int>>();
    if (tiles.scales.empty() || std::set<int>(tiles.scales.begin(), tiles.scales.end()).size() < tiles.scales.size()) {
        section.bad("scales", "at least one number, each once", value);
    }
    tiles.overlap = section.number("overlap", 0, 0.75, true);
    tiles.presence_threshold = section.number("presence_threshold", 0, 1, true);
    return tiles;
}

MemorySpec read_memory(const Section& section) {
    const auto bytes = [&](std::string_view key) {
        return static_cast<std::uint64_t>(section.integer(key, 0, kMostBytes));
    };
    return {bytes("crop_bytes"), bytes("pair_bytes"), bytes("presence_pair_bytes"), bytes("word_bytes")};
}

/// What is known to be held counts, whatever is stated: pixels, features, logits, token ids.
void raise_memory(Manifest& manifest) {
    const auto bytes_of = [](const std::vector<FeatureSpec>& features) {
        std::uint64_t bytes = 0;
        for (const FeatureSpec& one : features) {
            bytes += 4 * count_of(one.shape);
        }
        return bytes;
    };
    const auto of = [](int value) { return static_cast<std::uint64_t>(value); };
    MemorySpec& memory = manifest.memory;
    memory.crop_bytes =
        std::max(memory.crop_bytes, 12 * of(manifest.image.size) * of(manifest.image.size) + bytes_of(manifest.features));
    memory.pair_bytes = std::max(memory.pair_bytes, 4 * of(manifest.mask.height) * of(manifest.mask.width));
    memory.word_bytes =
        std::max(memory.word_bytes, 8 * of(manifest.text.context_length) + bytes_of(manifest.text.features));
}

/// `profile` is for the builder of engines; here it is checked alone.
void check_profile(const Section& section) {
    for (const char* key : {"crops", "classes", "pairs"}) {
        const Json& value = section.get(key);
        const bool whole = value.is_array() && value.size() == 3 &&
                           std::all_of(value.begin(), value.end(), [](const Json& one) {
                               return one.is_number_integer() && one >= 1 && one <= kMostInProfile;
                           });
        if (!whole || value[0] > value[1] || value[1] > value[2]) {
            section.bad(key, "three whole numbers of 1 or more, none below the one before", value);
        }
    }
}

DomainTest read_domain_test(const Section& test, const std::vector<FeatureSpec>& features) {
    DomainTest found;
    const Section all = test.section("weights");
    for (const auto& [name, weights] : all.data().items()) {
        const auto feature = std::find_if(features.begin(), features.end(), [&](const FeatureSpec& one) {
            return one.name == name && !one.shape.empty();
        });
        if (feature == features.end()) {
            test.bad("weights", "lists by the names of image features that are no single numbers", all.data());
        }
        const auto count = 2 * static_cast<std::size_t>(feature->shape.back());
        const bool numbers = weights.is_array() && weights.size() == count &&
                             std::all_of(weights.begin(), weights.end(), [](const Json& one) {
                                 return one.is_number() && std::isfinite(one.get<double>());
                             });
        if (!numbers) {
            all.bad(name, text_of("a list of ", count, " numbers"), weights);
        }
        found.weights[name] = weights.get<std::vector<double>>();
    }
    if (found.weights.empty()) {
        test.bad("weights", "lists by the names of image features that are no single numbers", all.data());
    }
    found.bias = test.number("bias", -kMostBias, kMostBias, true);
    return found;
}

DomainSpec read_domain(const Section& section, const std::vector<FeatureSpec>& features) {
    DomainSpec spec;
    if (!section.lacks("test")) {
        spec.test = read_domain_test(section.section("test"), features);
    }
    spec.name = section.text("name");
    std::istringstream words(section.text("description"));
    for (std::string word; words >> word;) {
        spec.description += (spec.description.empty() ? "" : " ") + word;
    }
    return spec;
}

/// An entry of `requires` that this version does not know may change masks.
void check_requires(const Section& top) {
    if (!top.data().contains("requires")) {
        return;
    }
    const Json& entries = top.get("requires");
    const bool texts = entries.is_array() && std::all_of(entries.begin(), entries.end(),
                                                         [](const Json& one) { return one.is_string(); });
    if (!texts) {
        top.bad("requires", "a list of texts", entries);
    }
    for (const Json& entry : entries) {
        const auto known = texts_at(formats(), "/requires");
        if (std::find(known.begin(), known.end(), entry.get<std::string>()) == known.end()) {
            fail<BundleError>("the bundle needs ", shown(entry.get<std::string>()),
                              ", which this clsclip does not know. Upgrade clsclip");
        }
    }
}

std::map<std::string, FileEntry> read_files(const Section& entries) {
    std::map<std::string, FileEntry> files;
    if (std::cmp_greater(entries.data().size(), limit("files"))) {
        fail<BundleError>("manifest.json lists more than ", limit("files"), " files. Export the bundle again");
    }
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

}  // namespace

Shape FeatureSpec::with_rows(std::int64_t rows) const {
    Shape all{rows};
    all.insert(all.end(), shape.begin(), shape.end());
    return all;
}

void check_file_name(std::string_view name) {
    bool unsafe = name.empty() || name.front() == '/';
    // The characters have a meaning on some system, or (the star) to a backend.
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

Manifest parse_manifest(std::string_view document, const std::string& folder) {
    Json data;
    try {
        data = parse_json(document);
    } catch (const Json::exception& error) {
        fail<BundleError>("manifest.json is not valid JSON (", one_line(ascii_reason(error), 200),
                          "). The bundle is damaged: get it again or export it again");
    }
    const Section top(data);
    const auto own = formats().at("bundle_schema").get<std::int64_t>();
    const std::int64_t version = top.integer("schema_version", 1, std::int64_t{1} << 31);
    if (version > own) {
        fail<BundleError>(folder, " has schema version ", version, ", and this clsclip reads version ", own,
                          ". Upgrade clsclip, or export the bundle again with this version");
    }
    if (version < own) {
        fail<BundleError>(folder, " has schema version ", version, ", which clsclip 0.", version,
                          " wrote. Run: clsclip-bundle upgrade ", folder, " NEW");
    }
    check_requires(top);
    const Section image = top.section("image"), mask = top.section("mask");
    for (const std::string_view key : texts_at(formats(), "/reserved_keys")) {
        top.check_object(key);
    }
    if (data.contains("model")) {
        (void)top.section("model");
    }
    Manifest manifest;
    manifest.name = top.text("name");
    const Section license = top.section("license");
    manifest.license = license.text("weights");
    if (!license.lacks("parts")) {
        const Section parts = license.section("parts");
        for (const auto& [name, unused] : parts.data().items()) {
            (void)parts.text(name);
        }
    }
    manifest.precision = top.text("precision");
    manifest.image.size = static_cast<int>(image.integer("size", 1, limit("image_size")));
    manifest.image.mean = image.channels("mean", false);
    manifest.image.std = image.channels("std", true);
    manifest.image.resize = image.choice("resize", texts_at(formats(), "/resizes"));
    manifest.image.interpolation = image.choice("interpolation", texts_at(formats(), "/interpolations"));
    std::set<std::string> taken;
    for (const std::string_view name : texts_at(formats(), "/reserved_names")) {
        taken.emplace(name);
    }
    manifest.features = read_features(top, taken);
    if (!top.lacks("domain")) {
        manifest.domain = read_domain(top.section("domain"), manifest.features);
    }
    manifest.text = read_text(top.section("text"), taken);
    manifest.mask.threshold = mask.number("threshold", kLeastThreshold, 1 - kLeastThreshold, true);
    manifest.mask.height = static_cast<int>(mask.integer("height", 1, limit("mask_size")));
    manifest.mask.width = static_cast<int>(mask.integer("width", 1, limit("mask_size")));
    if (!top.get("presence").is_null()) {
        manifest.presence = read_presence(top.section("presence"));
    }
    manifest.memory = read_memory(top.section("memory"));
    raise_memory(manifest);
    check_profile(top.section("profile"));
    top.check_text("description");
    manifest.files = read_files(top.section("files"));
    if (!top.lacks("detector")) {
        manifest.detector = read_detector(top.section("detector"));
    }
    if (!top.lacks("tiles")) {
        manifest.tiles = read_tiles(top.section("tiles"));
    }
    manifest.doubt = doubt_of(data);
    return manifest;
}

}  // namespace clsclip
