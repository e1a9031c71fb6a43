/// Boxes from a JSON file in place of a detector's: a plain list of
/// {"image": name, "class": word, "bbox": [x, y, width, height], "score": 0.9}, in pixels, in which class, score and, for
/// boxes of every image, image may be left out.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip::tool {

/// The boxes of many pictures.
class RegionFile {
public:
    /// Error when the file is absent, no JSON, or an entry is wrong.
    explicit RegionFile(const std::filesystem::path& path);

    /// The boxes of one image, which entries name by path, file name, or name without suffix.
    [[nodiscard]] std::vector<GivenBox> of(const std::filesystem::path& image) const;

private:
    struct Entry {
        std::string image;
        GivenBox box;
    };
    std::vector<Entry> entries_;
};

}  // namespace clsclip::tool
