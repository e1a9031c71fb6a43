#include "region_file.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace clsclip::tool {

namespace {

using Json = nlohmann::json;

constexpr const char* kAdvice =
    "An entry is {\"image\": name, \"class\": word, \"bbox\": [x, y, width, height]}, in pixels";

GivenBox box_of(const Json& entry) {
    const auto numbers = entry.at("bbox").get<std::vector<double>>();
    if (numbers.size() != 4) {
        throw std::invalid_argument("bbox must be four numbers x, y, width, height");
    }
    const auto narrow = [](double value) { return static_cast<float>(value); };
    GivenBox box;
    box.box = {narrow(numbers[0]), narrow(numbers[1]), narrow(numbers[0] + numbers[2]),
               narrow(numbers[1] + numbers[3])};
    if (entry.contains("class") && !entry["class"].is_null()) {
        box.name = entry["class"].get<std::string>();
    }
    box.score = narrow(entry.value("score", 1.0));
    if (!(box.score >= 0 && box.score <= 1)) {
        throw std::invalid_argument("score must be from 0 to 1");
    }
    return box;
}

}  // namespace

RegionFile::RegionFile(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw Error("no such file of regions: " + path.string());
    }
    Json document;
    try {
        document = Json::parse(file);
    } catch (const Json::exception& error) {
        throw Error(path.string() + " cannot be read as JSON: " + error.what());
    }
    if (!document.is_array()) {
        throw Error(path.string() + " must hold a list of boxes. " + kAdvice);
    }
    for (std::size_t number = 0; number < document.size(); ++number) {
        try {
            const Json& entry = document[number];
            entries_.push_back({entry.value("image", std::string()), box_of(entry)});
        } catch (const std::exception& error) {
            throw Error(path.string() + ", entry " + std::to_string(number) + ": " + error.what() + ". " + kAdvice);
        }
    }
}

std::vector<GivenBox> RegionFile::of(const std::filesystem::path& path) const {
    std::vector<GivenBox> found;
    for (const auto& [image, box] : entries_) {
        const bool fits = image.empty() || image == path.string() || image == path.filename().string() ||
                          image == path.stem().string();
        if (fits) {
            found.push_back(box);
        }
    }
    return found;
}

}  // namespace clsclip::tool
