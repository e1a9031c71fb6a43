/// Results as files, each of which appears complete or not at all, and as JSON.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "decoded_image.hpp"

namespace clsclip::tool {

/// Formats that save() knows.
[[nodiscard]] const std::vector<std::string>& known_formats();

/// Write `formats` of a result into a folder, which is made if need be. Returns the files' paths. Error.
std::vector<std::filesystem::path> save(const Result& result, const DecodedImage& image,
                                        const std::filesystem::path& source, const std::filesystem::path& folder,
                                        const std::vector<std::string>& formats);

/// All but the masks: areas in pixels and percent, boxes xywh in pixels or null.
[[nodiscard]] nlohmann::ordered_json report_of(const Result& result, const std::filesystem::path& source);

}  // namespace clsclip::tool
