/// Protobuf messages read field by field, as strictly as exporters write them.
///
/// Two readers of one file may disagree: protobuf's own keeps 32 bits of a tag, takes numbers that are longer than they
/// need be, steps over fields that it does not know, and lets a second field replace or join the first. What no exporter
/// writes is refused here, so that the engine that reads the same bytes afterwards sees what was seen here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>

namespace clsclip {

/// The bytes are not an ONNX file as exporters write them.
class NotOnnxError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Wire : std::uint8_t { number = 0, bytes = 2, four = 5 };

/// A field that may come: once, or, where it is `repeated`, any number of times. Of those of one `choice` above 0 only one
/// may come.
struct Known {
    std::uint32_t number;
    Wire wire;
    bool repeated = false;
    int choice = 0;
};

/// One field: a number has its value, all others where their content lies.
struct Field {
    std::uint32_t number = 0;
    std::uint64_t value = 0;
    std::size_t start = 0, end = 0;
    std::size_t begin = 0;  ///< where its tag is
};

/// Reads the fields of one message.
class Fields {
public:
    Fields(std::span<const std::uint8_t> data, std::size_t start, std::size_t end, std::span<const Known> known)
        : data_(data), at_(start), end_(end), known_(known) {}

    /// The next one; false at the end of the message. NotOnnxError.
    bool next(Field& field);

private:
    std::span<const std::uint8_t> data_;
    std::size_t at_, end_;
    std::span<const Known> known_;
    std::uint64_t seen_ = 0;
};

/// The number that begins at `at`, which moves behind it. NotOnnxError: it does not end before `end`, is over 64 bits, or
/// is longer than it need be.
std::uint64_t read_number(std::span<const std::uint8_t> data, std::size_t& at, std::size_t end);

}  // namespace clsclip
