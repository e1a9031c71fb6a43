/// Names of output files: distinct for distinct pictures and words, and decided before anything is written.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace clsclip::tool {

/// A picture, and how its files begin.
struct Source {
    std::filesystem::path path;
    std::string stem;
    std::string name;  ///< its path from the folder that holds all pictures of the run, with slashes
};

/// Each picture once, with a stem that no other has, also where a file system knows no case.
[[nodiscard]] std::vector<Source> named_sources(std::span<const std::filesystem::path> images);

/// A safe and distinct part of a file name for every word; letters and digits stay, all else becomes '-'.
[[nodiscard]] std::vector<std::string> slugs(std::span<const std::string> words);

/// The files of a picture in one format, of "png", "overlay", "coco".
[[nodiscard]] std::vector<std::string> file_names(const std::string& stem, std::span<const std::string> words,
                                                  const std::string& format);

/// The pictures that are in the folder of the outputs, whatever links lead to them.
class Inputs {
public:
    Inputs(std::span<const Source> sources, std::filesystem::path folder);

    /// OutputError: a file of one of these names would take the place of a picture.
    void refuse(std::span<const std::string> names) const;

private:
    std::filesystem::path folder_, real_;
    std::map<std::string, std::vector<std::filesystem::path>> inside_;
};

}  // namespace clsclip::tool
