#include "file_bytes.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "sha256.hpp"

namespace clsclip {

namespace {

constexpr std::size_t kBlock = std::size_t{1} << 20;

[[noreturn]] void throw_errno(int code) {
    throw std::system_error(code, std::generic_category());
}

/// An open regular file. A pipe is not waited for, and what is no file is not read.
class Reader {
public:
    explicit Reader(const std::filesystem::path& path) : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
        if (file_ < 0) {
            throw_errno(errno);
        }
        struct stat about {};
        const int error = ::fstat(file_, &about) != 0 ? errno : S_ISREG(about.st_mode) ? 0 : ENOENT;
        if (error != 0) {
            ::close(file_);
            throw_errno(error);
        }
        size_ = static_cast<std::uintmax_t>(about.st_size);
    }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader() { ::close(file_); }

    [[nodiscard]] std::uintmax_t size() const noexcept { return size_; }

    /// Bytes that come next; 0 at the end of the file.
    std::size_t read(std::span<std::uint8_t> into) {
        while (true) {
            const ssize_t got = ::read(file_, into.data(), into.size());
            if (got >= 0) {
                return static_cast<std::size_t>(got);
            }
            if (errno != EINTR) {
                throw_errno(errno);
            }
        }
    }

private:
    int file_;
    std::uintmax_t size_ = 0;
};

}  // namespace

Pages::Pages(std::size_t size) : size_(size) {
    if (size > 0) {
        void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED) {
            throw_errno(errno);
        }
#ifdef MADV_HUGEPAGE
        ::madvise(data, size, MADV_HUGEPAGE);
#endif
        data_ = static_cast<std::uint8_t*>(data);
    }
}

Pages::Pages(Pages&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Pages::~Pages() {
    if (size_ > 0) {
        ::munmap(data_, size_);
    }
}

FileBytes::FileBytes(const std::filesystem::path& path, std::uintmax_t most) {
    Reader reader(path);
    if (reader.size() > most) {
        throw_errno(EFBIG);
    }
    Pages pages(reader.size());
    Sha256 digest;
    std::size_t at = 0;
    while (at < pages.bytes().size()) {
        const auto part = pages.bytes().subspan(at, std::min(kBlock, pages.bytes().size() - at));
        const std::size_t got = reader.read(part);
        if (got == 0) {
            throw_errno(EIO);  // it was cut while it was read
        }
        digest.update(part.first(got));
        at += got;
    }
    std::destroy_at(&pages_);
    std::construct_at(&pages_, std::move(pages));
    sha256_ = digest.hex();
}

FileDigest::FileDigest(const std::filesystem::path& path) {
    Reader reader(path);
    std::vector<std::uint8_t> block(kBlock);
    Sha256 digest;
    while (const std::size_t got = reader.read(block)) {
        digest.update(std::span(block).first(got));
        size += got;
    }
    sha256 = digest.hex();
}

}  // namespace clsclip
