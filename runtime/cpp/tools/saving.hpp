/// Results as files, each of which appears complete or not at all, and as JSON.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "decoded_image.hpp"
#include "names.hpp"

namespace clsclip::tool {

/// Formats that save() knows.
[[nodiscard]] const std::vector<std::string>& known_formats();

/// A COCO document of one image, or of all images of a run: each class that was found is an annotation.
class CocoDocument {
public:
    /// Take a result. `name`: the path of its image with slashes, as `file_name`.
    void add(const Result& result, const std::string& name);

    /// Write it; false where it has no image, and nothing is written. OutputError.
    bool write_to(const std::filesystem::path& path) const;

private:
    nlohmann::ordered_json images_ = nlohmann::ordered_json::array(), annotations_ = images_, rest_;
};

/// Write `formats` of a result into a folder that is there. Returns the files' paths.
/// OutputError: one cannot be written, or would take the place of a picture.
std::vector<std::filesystem::path> save(const Result& result, const DecodedImage& image, const Source& source,
                                        const Inputs& inputs, const std::filesystem::path& folder,
                                        const std::vector<std::string>& formats);

/// All but the masks: areas in pixels and percent, boxes xywh in pixels or null.
[[nodiscard]] nlohmann::ordered_json report_of(const Result& result, const std::filesystem::path& source);

}  // namespace clsclip::tool
