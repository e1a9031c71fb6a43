/// What reaches a terminal: printable text, and an error where it cannot be written.
#pragma once

#include <string>
#include <string_view>

#include "clsclip/clsclip.hpp"

namespace clsclip::tool {

/// A file, or standard output, cannot be written: the next picture would fail in the same way.
class OutputError : public Error {
    using Error::Error;
};

/// Text without what a terminal obeys: control characters, bidirectional marks and bytes that are no UTF-8 become '?'.
/// New lines stay.
[[nodiscard]] std::string printable(std::string_view text);

/// Whether standard output is open. What is opened next never takes the numbers of closed standard streams.
bool open_standard_streams();

/// Write a line to standard output, printable, at once. OutputError.
void print_line(std::string_view text);

/// Write a line to standard error, printable.
void print_error(std::string_view text) noexcept;

}  // namespace clsclip::tool
