#include "names.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <set>
#include <utility>

#include "printing.hpp"
#include "utf8.hpp"

namespace clsclip::tool {

namespace fs = std::filesystem;

namespace {

// File systems take names of 255 bytes; a stem, a slug, their numbers and the suffix must fit together.
constexpr std::size_t kStemBytes = 120, kSlugBytes = 80;
constexpr int kMostLinks = 40;

/// A name as file systems compare it that know no case; of letters beyond ASCII they differ.
std::string folded(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char one) {
        return static_cast<char>(one < 0x80 ? std::tolower(one) : one);
    });
    return text;
}

/// The name without suffix. One that is too long ends with a checksum of all of it, so that two which begin alike
/// stay two.
std::string stem_of(const fs::path& path) {
    std::string stem;
    for (const char one : path.stem().string()) {
        if (static_cast<unsigned char>(one) >= 0x20 && one != '\\') {
            stem += one;
        }
    }
    if (stem.size() > kStemBytes) {
        const auto sum = crc32(0, reinterpret_cast<const Bytef*>(stem.data()), static_cast<uInt>(stem.size()));
        std::array<char, 16> text{};
        std::snprintf(text.data(), text.size(), "-%08lx", static_cast<unsigned long>(sum));
        const std::string checksum = text.data();
        stem = std::string(cut_bytes(stem, kStemBytes - checksum.size())) + checksum;
    }
    return stem.empty() ? "picture" : stem;
}

/// Whether a character is neither letter nor digit, as far as names are concerned: punctuation, symbols, marks that
/// nobody sees.
bool separates(char32_t one) {
    if (one < 0x80) {
        return std::isalnum(static_cast<int>(one)) == 0;
    }
    constexpr std::array<std::array<char32_t, 2>, 15> ranges{{
        {0x80, 0xA9}, {0xAB, 0xB1}, {0xB4, 0xB4}, {0xB6, 0xB8}, {0xBB, 0xBB}, {0xBF, 0xBF}, {0xD7, 0xD7}, {0xF7, 0xF7},
        {0x2000, 0x206F}, {0x2190, 0x2BFF}, {0x3000, 0x3004}, {0x3008, 0x3020}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF},
        {0xFFF0, 0xFFFF}}};
    const bool listed = std::any_of(ranges.begin(), ranges.end(),
                                    [one](const auto& range) { return one >= range[0] && one <= range[1]; });
    return listed || (one >= 0x1F000 && one <= 0x1FAFF) || one >= 0xE0000;
}

/// Every place that is looked at when a path is read: its own, those of links, and that of the file.
std::set<fs::path> places(fs::path path) {
    std::set<fs::path> found;
    std::error_code error;
    for (int link = 0; link < kMostLinks; ++link) {
        const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
        const fs::path place = fs::weakly_canonical(parent, error) / path.filename();
        found.insert(place);
        const fs::path target = fs::read_symlink(place, error);
        if (error) {
            break;
        }
        path = place.parent_path() / target;
    }
    return found;
}

}  // namespace

namespace {

/// The real folder of a picture, not that of a file that a link leads to.
fs::path folder_of(const fs::path& path) {
    std::error_code error;
    const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
    const fs::path real = fs::weakly_canonical(parent, error);
    return error ? parent : real;
}

/// The folder that holds some folders.
fs::path common(const fs::path& one, const fs::path& other) {
    fs::path found;
    for (auto a = one.begin(), b = other.begin(); a != one.end() && b != other.end() && *a == *b; ++a, ++b) {
        found /= *a;
    }
    return found;
}

}  // namespace

std::vector<Source> named_sources(std::span<const fs::path> images) {
    std::vector<Source> sources;
    std::set<fs::path> seen;
    std::set<std::string> taken;
    std::map<std::string, int> last;
    fs::path root = images.empty() ? fs::path() : folder_of(images.front());
    for (const fs::path& path : images) {
        root = common(root, folder_of(path));
    }
    for (const fs::path& path : images) {
        std::error_code error;
        const fs::path real = fs::weakly_canonical(path, error);
        if (!seen.insert(error ? path : real).second) {
            continue;
        }
        const std::string base = stem_of(path);
        std::string stem = base;
        while (!taken.insert(folded(stem)).second) {
            stem = base + "-" + std::to_string(++last.try_emplace(base, 1).first->second);
        }
        const fs::path whole = folder_of(path) / path.filename();
        sources.push_back({path, stem, whole.lexically_relative(root).generic_string()});
    }
    return sources;
}

std::vector<std::string> slugs(std::span<const std::string> words) {
    std::set<std::string> taken{"overlay", "labels"};
    std::vector<std::string> found;
    for (const std::string& word : words) {
        std::string base;
        for (std::string_view rest = word; !rest.empty();) {
            const auto [code, bytes] = first_character(rest);
            if (code != kNoCharacter && !separates(code)) {
                base += rest.substr(0, bytes);
            } else if (!base.empty() && base.back() != '-') {
                base += '-';
            }
            rest.remove_prefix(bytes);
        }
        base = std::string(cut_bytes(base, kSlugBytes));
        while (!base.empty() && base.back() == '-') {
            base.pop_back();
        }
        base = base.empty() ? "word" : base;
        std::string slug = base;
        for (int number = 2; !taken.insert(folded(slug)).second; ++number) {
            slug = base + "-" + std::to_string(number);
        }
        found.push_back(slug);
    }
    return found;
}

std::vector<std::string> file_names(const std::string& stem, std::span<const std::string> words,
                                    const std::string& format) {
    if (format == "overlay") {
        return {stem + "_overlay.png"};
    }
    if (format == "coco") {
        return {stem + "_coco.json"};
    }
    std::vector<std::string> names = slugs(words);
    for (std::string& name : names) {
        name = stem + "_" + name + ".png";
    }
    return names;
}

Inputs::Inputs(std::span<const Source> sources, fs::path folder) : folder_(std::move(folder)) {
    std::error_code error;
    real_ = fs::weakly_canonical(folder_, error);
    // A run may have millions of outputs, and pictures are rarely where the outputs go.
    for (const Source& source : sources) {
        for (const fs::path& place : places(source.path)) {
            if (place.parent_path() == real_) {
                inside_[folded(place.filename().string())].push_back(place);
            }
        }
    }
}

void Inputs::refuse(std::span<const std::string> names) const {
    if (inside_.empty()) {
        return;
    }
    std::error_code error;
    for (const std::string& name : names) {
        const auto same = inside_.find(folded(name));
        if (same == inside_.end()) {
            continue;
        }
        for (const fs::path& place : same->second) {
            if (place.filename() == name || fs::equivalent(real_ / name, place, error)) {
                throw OutputError((folder_ / name).string() +
                                  " is one of the pictures and would be overwritten. Change --out");
            }
        }
    }
}

}  // namespace clsclip::tool
