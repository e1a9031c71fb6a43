#include "region_file.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <system_error>

#include "errors.hpp"
#include "file_bytes.hpp"
#include "json.hpp"
#include "unicode/names.hpp"

namespace clsclip::tool {

namespace fs = std::filesystem;

namespace {

constexpr std::uintmax_t kMostBytes = std::uintmax_t{128} << 20;
constexpr std::size_t kMostValues = std::size_t{1} << 22;
constexpr std::size_t kMostCharacters = 1024;
constexpr std::size_t kMostReason = 200;
constexpr double kFar = 1e9;  ///< beyond all pictures, and far from what no float holds

constexpr const char* kAdvice =
    "An entry is {\"image\": name, \"class\": word, \"bbox\": [x, y, width, height]}, in pixels";

/// A value for messages.
std::string brief(const Json& value) {
    return shown(value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true));
}

bool is_number(const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

/// The first of some members that is there.
const Json* member(const Json& entry, std::initializer_list<const char*> names) {
    for (const char* name : names) {
        if (const auto found = entry.find(name); found != entry.end()) {
            return &*found;
        }
    }
    return nullptr;
}

/// A corner as a float; what the sum of two numbers has made infinite stays so, and is dropped later.
float narrow(double value) {
    return static_cast<float>(std::isfinite(value) ? std::clamp(value, -kFar, kFar) : value);
}

std::string class_of(const Json& entry) {
    const Json* word = member(entry, {"class", "category"});
    if (word == nullptr || word->is_null()) {
        if (entry.contains("category_id")) {
            fail<std::invalid_argument>("category_id needs the categories: give class names");
        }
        return {};
    }
    if (!word->is_string()) {
        fail<std::invalid_argument>("class must be a text, and it is ", brief(*word));
    }
    const auto& name = word->get_ref<const std::string&>();
    if (!is_blank(name) && !is_name(name, kMostCharacters)) {
        fail<std::invalid_argument>("class must be a name of up to ", kMostCharacters,
                                    " characters without line breaks, and it is ", shown(name));
    }
    return name;
}

/// How an entry names its picture: COCO's key alone may be a number.
std::string image_of(const Json& entry) {
    const Json* image = member(entry, {"image", "file_name", "image_id"});
    if (image == nullptr) {
        return {};
    }
    if (image->is_string()) {
        return image->get<std::string>();
    }
    if (!image->is_number_integer() || image != member(entry, {"image_id"})) {
        fail<std::invalid_argument>("image must be a name, and it is ", brief(*image));
    }
    return image->dump();
}

GivenBox box_of(const Json& entry) {
    if (!entry.is_object()) {
        fail<std::invalid_argument>("it is no object, and a box needs its name bbox, with width and height last");
    }
    if (!entry.contains("bbox")) {
        fail<std::invalid_argument>("no 'bbox'");
    }
    const Json& given = entry["bbox"];
    if (!given.is_array() || given.size() != 4 || !std::all_of(given.begin(), given.end(), is_number)) {
        fail<std::invalid_argument>("bbox must be four finite numbers x, y, width, height");
    }
    const auto numbers = given.get<std::array<double, 4>>();
    GivenBox box;
    box.box = {narrow(numbers[0]), narrow(numbers[1]), narrow(numbers[0] + numbers[2]),
               narrow(numbers[1] + numbers[3])};
    box.name = class_of(entry);
    if (const Json* score = member(entry, {"score"})) {
        if (!is_number(*score) || score->get<double>() < 0 || score->get<double>() > 1) {
            fail<std::invalid_argument>("score must be from 0 to 1, and it is ", brief(*score));
        }
        box.score = static_cast<float>(score->get<double>());
    }
    return box;
}

/// The whole file, which is a regular one: of a pipe nobody knows when it ends.
Json read(const fs::path& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) {
        fail<Error>("no such file of regions: ", path);
    }
    if (!error && !fs::is_regular_file(status)) {
        fail<Error>("cannot read the regions of ", path, ": it is ",
                    fs::is_directory(status) ? "a folder" : "no regular file");
    }
    try {
        const FileBytes file(path, kMostBytes);
        return parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, kMostValues);
    } catch (const Json::exception& reason) {
        fail<Error>(path, " cannot be read as JSON: ", one_line(ascii_reason(reason), kMostReason));
    } catch (const std::system_error& reason) {
        if (reason.code() == std::errc::file_too_large) {
            fail<Error>(path, " cannot be read as JSON: it is over ", kMostBytes >> 20, " MiB");
        }
        fail<Error>("cannot read the regions of ", path, ": ", reason.code().message());
    }
}

/// A picture's names, the most exact first: normalised path, file name, without suffix, number without zeros.
std::array<std::string, 4> names_of(const fs::path& image) {
    const fs::path path = image.lexically_normal();
    const std::string stem = path.stem().string();
    const std::string digits = stem.substr(std::min(stem.find_first_not_of('0'), stem.size()));
    return {path.string(), path.filename().string(), stem, digits.empty() ? "0" : digits};
}

}  // namespace

RegionFile::RegionFile(const fs::path& path) : path_(path) {
    const Json document = read(path);
    if (!document.is_array()) {
        fail<Error>(path, " must hold a list of boxes. ", kAdvice);
    }
    for (std::size_t number = 0; number < document.size(); ++number) {
        try {
            const GivenBox box = box_of(document[number]);
            boxes_[image_of(document[number])].push_back(box);
        } catch (const std::invalid_argument& error) {
            fail<Error>(path, ", entry ", number, ": ", error.what(), ". ", kAdvice);
        }
    }
    for (const auto& [image, unused] : boxes_) {
        if (!image.empty()) {
            for (const std::string& name : names_of(image)) {
                named_[name].insert(image);
            }
        }
    }
}

std::vector<GivenBox> RegionFile::of(const fs::path& image) const {
    std::set<std::string> keys{own_name(image), ""};  // boxes without a picture belong to every one
    std::vector<GivenBox> found;
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
        if (const auto boxes = boxes_.find(*key); boxes != boxes_.end()) {
            found.insert(found.end(), boxes->second.begin(), boxes->second.end());
        }
    }
    return found;
}

std::string RegionFile::own_name(const fs::path& image) const {
    for (const std::string& name : names_of(image)) {
        const auto fitting = named_.find(name);
        if (fitting == named_.end()) {
            continue;
        }
        if (fitting->second.contains(image.string())) {
            return image.string();
        }
        if (fitting->second.size() > 1) {
            const std::vector<std::string> all(fitting->second.begin(), fitting->second.end());
            fail<Error>(path_, " names several pictures that may be ", image, ": ",
                        joined(std::span(all).first(std::min<std::size_t>(3, all.size()))),
                        ". Give the picture by the path that the file has, or make its names distinct");
        }
        return *fitting->second.begin();
    }
    return {};
}

}  // namespace clsclip::tool
