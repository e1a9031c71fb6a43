#include "printing.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "utf8.hpp"

namespace clsclip::tool {

namespace {

/// Whether a terminal may obey a character, or hide it: categories Cc and Cf but for joiners, and separators of lines.
bool obeyed(char32_t one) {
    constexpr std::array<std::array<char32_t, 2>, 20> ranges{{
        {0x00, 0x09}, {0x0B, 0x1F}, {0x7F, 0x9F}, {0xAD, 0xAD}, {0x600, 0x605}, {0x61C, 0x61C}, {0x6DD, 0x6DD},
        {0x70F, 0x70F}, {0x890, 0x891}, {0x8E2, 0x8E2}, {0x180E, 0x180E}, {0x200B, 0x200B}, {0x200E, 0x200F}, {0x2028, 0x202E},
        {0x2060, 0x206F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0x110BD, 0x110CD}, {0x1BCA0, 0x1BCA3},
        {0xE0001, 0xE007F}}};
    for (const auto& [first, last] : ranges) {
        if (one >= first && one <= last) {
            return true;
        }
    }
    return false;
}

}  // namespace

std::string printable(std::string_view text) {
    std::string shown;
    while (!text.empty()) {
        const auto [code, bytes] = first_character(text);
        if (code == kNoCharacter || obeyed(code)) {
            shown += '?';
        } else {
            shown += text.substr(0, bytes);
        }
        text.remove_prefix(bytes);
    }
    return shown;
}

bool open_standard_streams() {
    bool output = true;
    for (int number = 0; number <= 2; ++number) {
        if (::fcntl(number, F_GETFD) == -1 && errno == EBADF) {
            output = output && number != 1;
            // The lowest free number is this one.
            [[maybe_unused]] const int opened = ::open("/dev/null", O_RDWR);
        }
    }
    return output;
}

void print_line(std::string_view text) {
    const std::string line = printable(text) + "\n";
    errno = 0;
    if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() || std::fflush(stdout) != 0) {
        const int reason = errno;
        throw OutputError(std::string("standard output cannot be written: ") +
                          (reason == 0 ? "it is closed" : std::strerror(reason)) + ". What is in files is complete");
    }
}

void print_error(std::string_view text) noexcept {
    try {
        const std::string line = printable(text) + "\n";
        std::fwrite(line.data(), 1, line.size(), stderr);
    } catch (...) {  // no memory for the line: the exit code tells
    }
}

}  // namespace clsclip::tool
