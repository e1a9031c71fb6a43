/// Boxes from a JSON file in place of a detector's: a plain list of
/// {"image": name, "class": word, "bbox": [x, y, width, height], "score": 0.9}, in pixels, in which class, score and, for
/// boxes of every image, image may be left out.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip::tool {

/// The boxes of many pictures.
class RegionFile {
public:
    /// Error when the file is absent, no regular file, too large, no JSON, or an entry is wrong.
    explicit RegionFile(const std::filesystem::path& path);

    /// The boxes of one image, which entries name by path, file name, name without suffix, or COCO's number. Error when
    /// the name fits several pictures of the file.
    [[nodiscard]] std::vector<GivenBox> of(const std::filesystem::path& image) const;

private:
    /// How the file names a picture: the most exact name that fits. Error where several do.
    [[nodiscard]] std::string own_name(const std::filesystem::path& image) const;

    std::filesystem::path path_;
    std::map<std::string, std::vector<GivenBox>> boxes_;       ///< by the picture's name in the file
    std::map<std::string, std::set<std::string>> named_;  ///< names in the file, by all that a picture may be called
};

}  // namespace clsclip::tool
