#include "bundle/protobuf.hpp"

#include <algorithm>

#include "errors.hpp"

namespace clsclip {

std::uint64_t read_number(std::span<const std::uint8_t> data, std::size_t& at, std::size_t end) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && at < end; shift += 7) {
        const std::uint8_t byte = data[at++];
        if ((shift == 63 && byte > 1) || (byte == 0 && shift > 0)) {
            throw NotOnnxError(text_of("a number is written as no exporter does at byte ", at));
        }
        value |= std::uint64_t{byte & 0x7FU} << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    throw NotOnnxError(text_of("a number does not end at byte ", at));
}

bool Fields::next(Field& field) {
    if (at_ >= end_) {
        return false;
    }
    field.begin = at_;
    const std::uint64_t tag = read_number(data_, at_, end_);
    if (tag > 0xFFFFFFFFU) {
        throw NotOnnxError(text_of("a tag of more than 32 bits at byte ", at_));
    }
    const auto wire = static_cast<Wire>(tag & 7U);
    const auto number = static_cast<std::uint32_t>(tag >> 3U);
    const auto found = std::find_if(known_.begin(), known_.end(), [&](const Known& one) {
        return one.number == number && one.wire == wire;
    });
    if (found == known_.end()) {
        if ((tag & 7U) == 3 || (tag & 7U) == 4) {
            throw NotOnnxError(text_of("a group at byte ", at_));
        }
        throw NotOnnxError(text_of("the field ", number, " of wire type ", tag & 7U, " at byte ", at_,
                                   ", which no exporter writes"));
    }
    if (!found->repeated) {
        const auto bit = std::uint64_t{1} << (found->choice > 0 ? 32 + found->choice : found - known_.begin());
        if ((seen_ & bit) != 0) {
            throw NotOnnxError(text_of("the field ", number, " comes twice at byte ", at_));
        }
        seen_ |= bit;
    }
    field.number = number;
    field.value = 0;
    std::uint64_t length = 4;
    if (wire == Wire::number) {
        field.value = read_number(data_, at_, end_);
        length = 0;
    } else if (wire == Wire::bytes) {
        length = read_number(data_, at_, end_);
    }
    if (length > end_ - at_) {
        throw NotOnnxError(text_of("a field ends beyond its message at byte ", end_));
    }
    field.start = at_;
    at_ += static_cast<std::size_t>(length);
    field.end = at_;
    return true;
}

}  // namespace clsclip
