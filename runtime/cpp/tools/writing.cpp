#include "writing.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <regex>
#include <string>

#include "printing.hpp"

namespace clsclip::tool {

namespace fs = std::filesystem;

namespace {

constexpr int kTries = 100;

[[noreturn]] void fail(const fs::path& path, int reason) {
    const bool full = reason == ENOSPC || reason == EDQUOT;
    throw OutputError("cannot write " + path.string() + ": " + std::strerror(reason) + ". " +
                      (full ? "Make room on the disk" : "Give a folder that you may write to"));
}

/// A descriptor that closes itself.
class Descriptor {
public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(other.number_) { other.number_ = -1; }
    Descriptor& operator=(Descriptor&&) = delete;
    ~Descriptor() { close(); }

    [[nodiscard]] int number() const { return number_; }

    /// 0, or why the last of what was written is lost.
    int close() {
        const int number = number_;
        number_ = -1;
        return number < 0 || ::close(number) == 0 ? 0 : errno;
    }

private:
    int number_;
};

/// The names that the Python runtime gives as well, so that either sweeps what the other left.
std::string part_name(const fs::path& path) {
    std::random_device random;
    std::array<char, 17> digits{};
    std::snprintf(digits.data(), digits.size(), "%08x%08x", static_cast<unsigned>(random()),
                  static_cast<unsigned>(random()));
    return ".clsclip-" + std::string(digits.data()) + ".part" + path.extension().string();
}

bool is_part_name(const std::string& name) {
    static const std::regex pattern(R"(\.clsclip-[0-9a-f]{16}\.part(\.[0-9A-Za-z]{1,8})?)");
    return std::regex_match(name, pattern);
}

/// A temporary file: removed at the end unless it was kept.
class PartFile {
public:
    explicit PartFile(const fs::path& path) : path_(path), file_(make()), lock_(::dup(file_.number())) {}
    PartFile(const PartFile&) = delete;
    PartFile& operator=(const PartFile&) = delete;

    ~PartFile() {
        if (!kept_) {
            ::unlink(part_.c_str());
        }
    }

    void write(std::span<const std::byte> content) {
        while (!content.empty()) {
            const ssize_t written = ::write(file_.number(), content.data(), content.size());
            if (written < 0 && errno != EINTR) {
                fail(path_, errno);
            }
            content = content.subspan(written < 0 ? 0 : static_cast<std::size_t>(written));
        }
    }

    void keep() {
        // Closing tells the last errors, and must come before the renaming; the lock must stay until after that.
        if (const int reason = file_.close(); reason != 0) {
            fail(path_, reason);
        }
        if (::rename(part_.c_str(), path_.c_str()) != 0) {
            fail(path_, errno);
        }
        kept_ = true;
    }

private:
    Descriptor make() {
        for (int attempt = 0; attempt < kTries; ++attempt) {
            part_ = path_.parent_path() / part_name(path_);
            Descriptor made(::open(part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
            if (made.number() < 0) {
                fail(path_, errno);
            }
            // A sweeper may come between the making and the locking: then there is another name to try.
            const bool taken = ::flock(made.number(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
            struct stat found {};
            if (!taken && ::lstat(part_.c_str(), &found) == 0) {
                return made;
            }
        }
        fail(path_, EAGAIN);
    }

    fs::path path_, part_;
    Descriptor file_, lock_;
    bool kept_ = false;
};

void sweep_one(const fs::path& path) {
    struct stat found {};
    if (::lstat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode) || found.st_uid != ::geteuid()) {
        return;
    }
    const Descriptor file(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file.number() >= 0 && ::flock(file.number(), LOCK_EX | LOCK_NB) == 0) {
        ::unlink(path.c_str());
    }
}

}  // namespace

void write_file(const fs::path& path, std::span<const std::byte> content) {
    PartFile part(path);
    part.write(content);
    part.keep();
}

void make_folder(const fs::path& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) {
        fail(path, error.value());
    }
}

void sweep(const fs::path& folder) noexcept {
    try {
        std::error_code error;
        for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
            if (is_part_name(entry.path().filename().string())) {
                sweep_one(entry.path());
            }
        }
    } catch (const std::exception&) {  // what cannot be removed stays
    }
}

}  // namespace clsclip::tool
