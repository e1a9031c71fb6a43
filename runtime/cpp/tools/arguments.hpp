/// The command line, parsed and checked before anything is loaded.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip::tool {

/// Wrong use of the command line: exit code 2.
class UsageError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Arguments {
    std::vector<std::filesystem::path> images;
    std::vector<std::string> classes;
    std::vector<std::string> notes;  ///< of how the classes were read
    std::filesystem::path model;
    std::optional<std::filesystem::path> out;
    std::vector<std::string> formats{"png", "overlay"};
    std::optional<std::filesystem::path> regions;
    bool zoom_in = false;
    std::set<std::string> about_regions;  ///< options that are about regions and were given
    Request request;  ///< without what files and pictures add
    ZoomIn zoom;
    Options options;
    bool json = false;
    bool help = false;
    bool version = false;
};

/// UsageError: something is missing, unknown or no number.
[[nodiscard]] Arguments parse(int count, const char* const* values);

/// What --help prints.
[[nodiscard]] const char* help_text();

}  // namespace clsclip::tool
