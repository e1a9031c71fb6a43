/// Files that appear complete or not at all: under a random new name until then, locked, never through a link.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace clsclip::tool {

/// Write a file, and give it its name when it is complete. OutputError.
void write_file(const std::filesystem::path& path, std::span<const std::byte> content);

/// Make a folder, and those above it. OutputError.
void make_folder(const std::filesystem::path& path);

/// Remove what killed processes left in a folder under temporary names. What is in use stays.
void sweep(const std::filesystem::path& folder) noexcept;

}  // namespace clsclip::tool
