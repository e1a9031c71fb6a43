/// A file read once: what was hashed is what is used, whatever others do to the file meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

namespace clsclip {

/// Memory of its own that goes back to the system when it is freed.
class Pages {
public:
    explicit Pages(std::size_t size);
    Pages(Pages&& other) noexcept;
    Pages& operator=(Pages&&) = delete;
    ~Pages();

    [[nodiscard]] std::span<std::uint8_t> bytes() const noexcept { return {data_, size_}; }

private:
    std::uint8_t* data_ = nullptr;
    std::size_t size_ = 0;
};

/// A file's bytes as they were when it was read.
class FileBytes {
public:
    /// Read the file; links are followed. std::system_error when it cannot be, or is no regular file, or has more than
    /// `most` bytes (EFBIG).
    explicit FileBytes(const std::filesystem::path& path, std::uintmax_t most = UINTMAX_MAX);

    [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return pages_.bytes(); }
    [[nodiscard]] std::span<std::uint8_t> writable() noexcept { return pages_.bytes(); }
    /// SHA-256 of the bytes, found while they were read.
    [[nodiscard]] const std::string& sha256() const noexcept { return sha256_; }

private:
    Pages pages_{0};
    std::string sha256_;
};

/// Size and SHA-256 of a file that is not kept. std::system_error as above.
struct FileDigest {
    std::uintmax_t size = 0;
    std::string sha256;

    explicit FileDigest(const std::filesystem::path& path);
};

}  // namespace clsclip
