#include "mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace clsclip {

namespace {

[[noreturn]] void throw_errno(int code) {
    throw std::system_error(code, std::generic_category());
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        throw_errno(errno);
    }
    struct stat about {};
    void* data = nullptr;
    int error = ::fstat(file, &about) != 0 ? errno : 0;
    if (error == 0 && about.st_size > 0) {
        size_ = static_cast<std::size_t>(about.st_size);
        data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
        error = data == MAP_FAILED ? errno : 0;
    }
    ::close(file);
    if (error != 0) {
        throw_errno(error);
    }
    data_ = static_cast<const std::uint8_t*>(data);
}

MappedFile::~MappedFile() {
    if (size_ > 0) {
        ::munmap(const_cast<std::uint8_t*>(data_), size_);
    }
}

}  // namespace clsclip
