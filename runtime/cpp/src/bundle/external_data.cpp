#include "bundle/external_data.hpp"

#include <optional>
#include <string_view>
#include <vector>

#include "errors.hpp"

namespace clsclip {

namespace {

enum class Message { model, training, graph, node, attribute, sparse, function, tensor, entry };

/// The message that a field leads to, for every path of onnx.proto from a model to a tensor's external data.
std::optional<Message> inner(Message message, std::uint64_t field) {
    using enum Message;
    switch (message) {
        case model: return field == 7    ? std::optional(graph)
                           : field == 20 ? std::optional(training)
                           : field == 25 ? std::optional(function)
                                         : std::nullopt;
        case training: return field == 1 || field == 2 ? std::optional(graph) : std::nullopt;
        case graph: return field == 1    ? std::optional(node)
                           : field == 5  ? std::optional(tensor)
                           : field == 15 ? std::optional(sparse)
                                         : std::nullopt;
        case node: return field == 5 ? std::optional(attribute) : std::nullopt;
        case attribute: return field == 5 || field == 10    ? std::optional(tensor)
                               : field == 6 || field == 11  ? std::optional(graph)
                               : field == 22 || field == 23 ? std::optional(sparse)
                                                            : std::nullopt;
        case sparse: return field == 1 || field == 2 ? std::optional(tensor) : std::nullopt;
        case function: return field == 7    ? std::optional(node)
                              : field == 11 ? std::optional(attribute)
                                            : std::nullopt;
        case tensor: return field == 13 ? std::optional(entry) : std::nullopt;
        case entry: return std::nullopt;
    }
    return std::nullopt;
}

/// A part of the file that is one message.
struct Part {
    Message message;
    std::size_t start;
    std::size_t end;
};

/// Reads the length-delimited fields of one message.
class Fields {
public:
    Fields(std::span<const std::uint8_t> data, std::size_t start, std::size_t end)
        : data_(data), at_(start), end_(end) {}

    /// The next one: its number, and where its bytes are. False at the end of the message.
    bool next(std::uint64_t& field, std::size_t& start, std::size_t& end) {
        while (at_ < end_) {
            const std::uint64_t tag = varint();
            switch (tag & 7U) {
                case 0: varint(); break;
                case 1: skip(8); break;
                case 5: skip(4); break;
                case 2:
                    field = tag >> 3U;
                    end = varint();  // a length so far
                    start = at_;
                    skip(end);
                    end = at_;
                    return true;
                default: throw NotOnnxError(text_of("wire type ", tag & 7U, " at byte ", at_));
            }
        }
        return false;
    }

private:
    void skip(std::uint64_t length) {
        if (length > end_ - at_) {
            throw NotOnnxError(text_of("a field ends beyond its message at byte ", end_));
        }
        at_ += static_cast<std::size_t>(length);
    }

    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 70 && at_ < end_; shift += 7) {
            const std::uint8_t byte = data_[at_++];
            if (shift < 64) {
                value |= std::uint64_t{byte & 0x7FU} << shift;
            }
            if (byte < 0x80) {
                return value;
            }
        }
        throw NotOnnxError(text_of("a number does not end at byte ", at_));
    }

    std::span<const std::uint8_t> data_;
    std::size_t at_;
    std::size_t end_;
};

}  // namespace

std::set<std::string> external_locations(std::span<const std::uint8_t> model) {
    if (model.empty()) {
        throw NotOnnxError("the file is empty");
    }
    std::set<std::string> found;
    std::vector<Part> pending{{Message::model, 0, model.size()}};
    while (!pending.empty()) {
        const Part part = pending.back();
        pending.pop_back();
        Fields fields(model, part.start, part.end);
        std::string_view key, value;
        std::uint64_t field = 0;
        std::size_t start = 0, end = 0;
        while (fields.next(field, start, end)) {
            if (part.message == Message::entry && (field == 1 || field == 2)) {
                (field == 1 ? key : value) = {reinterpret_cast<const char*>(model.data()) + start, end - start};
            } else if (const auto next = inner(part.message, field)) {
                pending.push_back({*next, start, end});
            }
        }
        if (key == "location") {
            found.emplace(value);
        }
    }
    return found;
}

}  // namespace clsclip
