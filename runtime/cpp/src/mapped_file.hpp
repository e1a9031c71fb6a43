/// A file's bytes without reading it into memory first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace clsclip {

/// A read-only mapping; std::system_error when the file cannot be opened.
class MappedFile {
public:
    explicit MappedFile(const std::filesystem::path& path);
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    ~MappedFile();

    [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return {data_, size_}; }

private:
    const std::uint8_t* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace clsclip
