// Longer than other files: it is one reader, message by message.
#include "bundle/onnx_walk.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "errors.hpp"
#include "unicode/names.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

constexpr Wire kNumber = Wire::number, kBytes = Wire::bytes, kFour = Wire::four;
constexpr int kFloat = 1, kInt64 = 7;
constexpr std::size_t kMostText = 4096;
constexpr std::size_t kEntryBytes = 16;  ///< of an entry of the metadata beside its texts: there may be many empty ones
constexpr std::uint64_t kMostInline = std::uint64_t{1} << 24;
constexpr std::uint64_t kMostCount = std::uint64_t{1} << 48;  ///< values of a tensor, without its axes of size 0

// What exporters write of onnx.proto. Names: IR version, producer's name and version, domain, version, description, graph,
// operator sets, metadata; and so on, in the order of the numbers.
constexpr std::array kModel{Known{1, kNumber}, Known{2, kBytes}, Known{3, kBytes}, Known{4, kBytes}, Known{5, kNumber},
                            Known{6, kBytes}, Known{7, kBytes}, Known{8, kBytes, true}, Known{14, kBytes, true}};
constexpr std::array kGraph{Known{1, kBytes, true}, Known{2, kBytes}, Known{5, kBytes, true}, Known{10, kBytes},
                            Known{11, kBytes, true}, Known{12, kBytes, true}, Known{13, kBytes, true},
                            Known{16, kBytes, true}};
constexpr std::array kNode{Known{1, kBytes, true}, Known{2, kBytes, true}, Known{3, kBytes}, Known{4, kBytes},
                           Known{5, kBytes, true}, Known{6, kBytes}, Known{7, kBytes}, Known{8, kBytes},
                           Known{9, kBytes, true}};
constexpr std::array kAttribute{Known{1, kBytes}, Known{2, kFour}, Known{3, kNumber}, Known{4, kBytes}, Known{5, kBytes},
                                Known{7, kFour, true}, Known{8, kNumber, true}, Known{9, kBytes, true},
                                Known{13, kBytes}, Known{20, kNumber}};
constexpr std::array kTensor{Known{1, kNumber, true}, Known{2, kNumber}, Known{4, kBytes}, Known{5, kBytes},
                             Known{7, kBytes}, Known{8, kBytes}, Known{9, kBytes}, Known{10, kBytes}, Known{11, kBytes},
                             Known{12, kBytes}, Known{13, kBytes, true}, Known{14, kNumber}, Known{16, kBytes, true}};
constexpr std::array kValue{Known{1, kBytes}, Known{2, kBytes}, Known{3, kBytes}, Known{4, kBytes, true}};
constexpr std::array kType{Known{1, kBytes}, Known{6, kBytes}};
constexpr std::array kTensorType{Known{1, kNumber}, Known{2, kBytes}};
constexpr std::array kShape{Known{1, kBytes, true}};
constexpr std::array kAxis{Known{1, kNumber, false, 1}, Known{2, kBytes, false, 1}, Known{3, kBytes}};
constexpr std::array kEntry{Known{1, kBytes}, Known{2, kBytes}};
constexpr std::array kOpset{Known{1, kBytes}, Known{2, kNumber}};

/// The type of an attribute, by the field that holds its value; 0 for fields that hold none.
std::uint64_t type_of_value(std::uint32_t field) {
    switch (field) {
        case 2: return 1;
        case 3: return 2;
        case 4: return 3;
        case 5: return 4;
        case 7: return 6;
        case 8: return 7;
        case 9: return 8;
        default: return 0;
    }
}

/// Whether a list of single values may hold those of a type, and how many bytes one has; 0 where that differs.
std::pair<bool, std::size_t> typed_list(std::uint32_t field, int type) {
    switch (field) {
        case 4: return {type == kFloat, 4};
        case 10: return {type == 11, 8};
        case 7: return {type == kInt64, 0};
        case 11: return {type == 12 || type == 13, 0};
        default: return {(type >= 2 && type <= 6) || type == 9 || type == 10 || type == 16, 0};
    }
}

std::uint64_t count_in(const Shape& shape, const std::string& name) {
    std::uint64_t count = 1;
    bool empty = false;
    for (const std::int64_t size : shape) {
        // An axis of none makes the others no smaller: engines multiply them too.
        const std::uint64_t most = kMostCount / static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
        if (size < 0 || count > most) {
            throw NotOnnxError(text_of("the tensor ", shown(name), " has the shape ", text_of_shape(shape)));
        }
        empty = empty || size == 0;
        count *= static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
    }
    return empty ? 0 : count;
}

class Walker {
public:
    Walker(std::span<const std::uint8_t> data, const OnnxBounds& bounds)
        : data_(data), bounds_(bounds), metadata_left_(bounds.metadata) {}

    OnnxModel model() {
        if (data_.empty()) {
            throw NotOnnxError("the file is empty");
        }
        OnnxModel found;
        std::optional<Field> graph;
        Fields fields(data_, 0, data_.size(), kModel);
        Field field;
        while (fields.next(field)) {
            switch (field.number) {
                case 1: found.ir_version = field.value; break;
                case 5: break;
                case 7: graph = field; break;
                case 8: opset(field, found); break;
                case 14: entry(field); break;
                default: skip(field);
            }
        }
        if (!graph) {
            throw NotOnnxError("it has no graph");
        }
        found.around = {{0, graph->begin}, {graph->end, data_.size()}};
        read_graph(*graph, found);
        return found;
    }

private:
    Fields fields_of(const Field& field, std::span<const Known> known) const {
        return {data_, field.start, field.end, known};
    }

    std::string_view raw(const Field& field) const {
        return {reinterpret_cast<const char*>(data_.data()) + field.start, field.end - field.start};
    }

    /// A text, which is UTF-8.
    std::string any_text(const Field& field) const {
        const std::string_view text = raw(field);
        const bool ascii = std::all_of(text.begin(), text.end(), [](char one) { return static_cast<unsigned char>(one) < 0x80; });
        if (!ascii && !decode_utf8(text)) {
            throw NotOnnxError("a text is not UTF-8");
        }
        return std::string(text);
    }

    /// A name. What is not printable has no place in one.
    std::string text(const Field& field) const {
        std::string found = any_text(field);
        const bool plain = std::none_of(found.begin(), found.end(), [](char one) {
            return static_cast<unsigned char>(one) < 0x20 || one == 0x7F;
        });
        if (found.size() > kMostText || !plain) {
            throw NotOnnxError(text_of("the name ", shown(found), " is too long, or not printable"));
        }
        return found;
    }

    void skip(const Field& field, std::size_t more = 0) {
        const std::size_t size = field.end - field.start + more;
        if (size > metadata_left_) {
            throw NotOnnxError(text_of("its metadata are over ", bounds_.metadata >> 10, " KiB"));
        }
        metadata_left_ -= size;
    }

    std::pair<std::string, std::string> entry(const Field& field) {
        skip(field, kEntryBytes);
        Fields fields = fields_of(field, kEntry);
        std::pair<std::string, std::string> found;
        Field part;
        while (fields.next(part)) {
            (part.number == 1 ? found.first : found.second) = any_text(part);
        }
        return found;
    }

    void opset(const Field& field, OnnxModel& model) const {
        Fields fields = fields_of(field, kOpset);
        std::string domain;
        std::uint64_t version = 0;
        Field part;
        while (fields.next(part)) {
            if (part.number == 1) {
                domain = text(part);
            } else {
                version = part.value;
            }
        }
        if (!model.opsets.emplace(domain, version).second) {
            throw NotOnnxError(text_of("the operator set ", shown(domain), " comes twice"));
        }
    }

    void read_graph(const Field& graph, OnnxModel& model) {
        std::vector<Field> parts;
        Fields fields = fields_of(graph, kGraph);
        std::size_t beside = graph.end - graph.start;
        Field field;
        while (fields.next(field)) {
            parts.push_back(field);
            if (field.number == 5 && field.end - field.start >= kSmallTensor) {
                beside -= field.end - field.start;
            }
            if (parts.size() > 8 * bounds_.nodes) {
                throw NotOnnxError(text_of("it has more than ", 8 * bounds_.nodes, " parts"));
            }
        }
        if (beside > bounds_.bytes) {
            throw NotOnnxError(text_of("it has ", beside >> 20, " MiB beside its weights, and at most ",
                                       bounds_.bytes >> 20, " are read"));
        }
        for (const Field& part : parts) {
            switch (part.number) {
                case 1:
                    model.nodes.push_back(node(part));
                    model.places.push_back(model.inside.size());
                    break;
                case 5:
                    model.tensors.push_back(tensor(part, false));
                    if (model.tensors.back().place ||
                        model.tensors.back().end - model.tensors.back().start >= kSmallTensor) {
                        continue;
                    }
                    break;
                case 11: model.inputs.push_back(value(part)); break;
                case 12: model.outputs.push_back(value(part)); break;
                case 13: model.values.push_back(value(part)); break;
                case 16: entry(part); break;
                default: skip(part);
            }
            model.inside.emplace_back(part.begin, part.end);
        }
        if (model.nodes.size() > bounds_.nodes || model.tensors.size() > bounds_.tensors) {
            throw NotOnnxError(text_of("it has ", model.nodes.size(), " nodes and ", model.tensors.size(),
                                       " tensors, and at most ", bounds_.nodes, " and ", bounds_.tensors, " are read"));
        }
    }

    OnnxNode node(const Field& field) {
        OnnxNode found;
        Fields fields = fields_of(field, kNode);
        Field part;
        while (fields.next(part)) {
            switch (part.number) {
                case 1: found.inputs.push_back(any_text(part)); break;
                case 2: found.outputs.push_back(any_text(part)); break;
                case 3: found.name = text(part); break;
                case 4: found.op = text(part); break;
                case 5: {
                    auto [name, attribute] = read_attribute(part);
                    if (!found.attributes.emplace(name, std::move(attribute)).second) {
                        throw NotOnnxError(text_of("the attribute ", shown(name), " comes twice"));
                    }
                    break;
                }
                case 7: found.domain = text(part); break;
                case 8:
                    if (part.end > part.start) {
                        throw NotOnnxError("a node names an overload");
                    }
                    break;
                case 9: entry(part); break;
                default: skip(part);
            }
        }
        return found;
    }

    std::pair<std::string, OnnxAttribute> read_attribute(const Field& field) {
        std::string name;
        OnnxAttribute found;
        std::uint64_t held = 0;
        std::vector<std::int64_t> numbers;
        Fields fields = fields_of(field, kAttribute);
        Field part;
        while (fields.next(part)) {
            if (const std::uint64_t type = type_of_value(part.number); type != 0) {
                if (held != 0 && held != type) {
                    throw NotOnnxError(text_of("the attribute ", shown(name), " has two values"));
                }
                held = type;
                if (type == 2 || type == 7) {
                    numbers.push_back(static_cast<std::int64_t>(part.value));
                } else if (type == 4) {
                    found.value = tensor(part, true);
                } else if (type == 3 || type == 8) {
                    skip(part);
                }
            } else if (part.number == 1) {
                name = text(part);
            } else if (part.number == 20) {
                found.type = part.value;
            } else {
                skip(part);
            }
        }
        if ((held != 0 && held != found.type) || found.type < 1 || found.type > 8 || (held == 0 && found.type == 4)) {
            throw NotOnnxError(text_of("the attribute ", shown(name), " has the type ", found.type,
                                       " and a value of type ", held));
        }
        if (found.type == 2 || found.type == 7) {
            found.value = std::move(numbers);
        }
        return {std::move(name), std::move(found)};
    }

    OnnxTensor tensor(const Field& field, bool inside) {
        OnnxTensor found;
        std::uint64_t type = 0, location = 0;
        std::optional<Field> content, typed;
        std::map<std::string, std::string> entries;
        Fields fields = fields_of(field, kTensor);
        Field part;
        while (fields.next(part)) {
            switch (part.number) {
                case 1: found.shape.push_back(static_cast<std::int64_t>(part.value)); break;
                case 2: type = part.value; break;
                case 8: found.name = text(part); break;
                case 9: content = part; break;
                case 12: skip(part); break;
                case 13:
                    if (!entries.insert(entry(part)).second) {
                        throw NotOnnxError(text_of("the tensor ", shown(found.name), " names a part of its place twice"));
                    }
                    break;
                case 14: location = part.value; break;
                case 16: entry(part); break;
                default:
                    if (typed) {
                        throw NotOnnxError(text_of("the tensor ", shown(found.name), " has two lists of values"));
                    }
                    typed = part;
            }
        }
        found.type = type <= 64 ? static_cast<int>(type) : 0;
        if (bytes_of_onnx_type(found.type) == 0) {
            throw NotOnnxError(text_of("the tensor ", shown(found.name), " has values of type ", type,
                                       ", which no exporter writes"));
        }
        if (found.shape.size() > 8) {
            throw NotOnnxError(text_of("the tensor ", shown(found.name), " has ", found.shape.size(), " axes"));
        }
        const std::uint64_t count = count_in(found.shape, found.name), size = count * bytes_of_onnx_type(found.type);
        const int sources = (content ? 1 : 0) + (typed ? 1 : 0) + (location == 1 ? 1 : 0);
        if (sources > 1 || location > 1 || (!entries.empty() && location != 1)) {
            throw NotOnnxError(text_of("the values of the tensor ", shown(found.name), " lie in several places"));
        }
        if (location == 1) {
            if (inside) {
                throw NotOnnxError("a node's own tensor lies in another file");
            }
            found.place = place(found.name, entries, size);
        } else if (content) {
            if (content->end - content->start != size) {
                throw NotOnnxError(text_of("the tensor ", shown(found.name), " has ", content->end - content->start,
                                           " bytes, and ", size, " by its shape"));
            }
            found.start = content->start;
            found.end = content->end;
        } else if (typed) {
            check_typed(found, count, *typed);
        } else if (size > 0) {
            throw NotOnnxError(text_of("the tensor ", shown(found.name), " has no values"));
        }
        if (found.type == kInt64 && count <= 64) {
            read_values(found, count, typed);
        }
        return found;
    }

    void check_typed(const OnnxTensor& tensor, std::uint64_t count, const Field& list) const {
        const auto [fits, width] = typed_list(list.number, tensor.type);
        if (!fits || count > kMostInline) {
            throw NotOnnxError(text_of("the tensor ", shown(tensor.name), " keeps its values in the field ", list.number));
        }
        std::uint64_t there = 0;
        if (width > 0) {
            there = (list.end - list.start) % width == 0 ? (list.end - list.start) / width : count + 1;
        } else {
            for (std::size_t at = list.start; at < list.end; ++there) {
                read_number(data_, at, list.end);
            }
        }
        if (there != count) {
            throw NotOnnxError(text_of("the tensor ", shown(tensor.name), " has other values than its shape says"));
        }
    }

    void read_values(OnnxTensor& tensor, std::uint64_t count, const std::optional<Field>& typed) const {
        std::vector<std::int64_t> values;
        if (typed) {
            for (std::size_t at = typed->start; at < typed->end;) {
                values.push_back(static_cast<std::int64_t>(read_number(data_, at, typed->end)));
            }
        } else if (!tensor.place) {
            values.resize(count);
            if (count > 0) {
                std::memcpy(values.data(), data_.data() + tensor.start, count * sizeof(std::int64_t));
            }
        } else {
            return;
        }
        tensor.values = std::move(values);
    }

    static std::uint64_t bytes_at(const std::string& name, const std::string& text) {
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (text.empty() || text.size() > 15 || error != std::errc() || end != text.data() + text.size()) {
            throw NotOnnxError(text_of("the tensor ", shown(name), " lies at ", shown(text),
                                       ", which is no number of bytes"));
        }
        return value;
    }

    static ExternalPlace place(const std::string& name, const std::map<std::string, std::string>& entries,
                               std::uint64_t size) {
        ExternalPlace found;
        for (const auto& [key, value] : entries) {
            if (key == "location") {
                found.file = value;
            } else if (key == "offset") {
                found.offset = bytes_at(name, value);
            } else if (key == "length") {
                if (bytes_at(name, value) != size) {
                    throw NotOnnxError(text_of("the tensor ", shown(name), " has ", value, " bytes, and ", size,
                                               " by its shape"));
                }
            } else if (key != "checksum") {
                throw NotOnnxError(text_of("the tensor ", shown(name), " names its place as no exporter does"));
            }
        }
        if (found.file.empty()) {
            throw NotOnnxError(text_of("the tensor ", shown(name), " names no file"));
        }
        return found;
    }

    OnnxValue value(const Field& field) {
        OnnxValue found;
        Fields fields = fields_of(field, kValue);
        Field part;
        while (fields.next(part)) {
            switch (part.number) {
                case 1: found.name = text(part); break;
                case 2: read_type(part, found); break;
                case 4: entry(part); break;
                default: skip(part);
            }
        }
        return found;
    }

    void read_type(const Field& field, OnnxValue& found) {
        std::uint64_t type = 0;
        Fields fields = fields_of(field, kType);
        Field part;
        while (fields.next(part)) {
            if (part.number != 1) {
                skip(part);
                continue;
            }
            Fields inner = fields_of(part, kTensorType);
            Field one;
            while (inner.next(one)) {
                if (one.number == 1) {
                    type = one.value;
                } else {
                    read_shape(one, found);
                }
            }
        }
        found.type = type <= 64 ? static_cast<int>(type) : 0;
        if (bytes_of_onnx_type(found.type) == 0) {
            throw NotOnnxError(text_of("the value ", shown(found.name), " has the type ", type,
                                       ", which no exporter writes"));
        }
    }

    void read_shape(const Field& field, OnnxValue& found) {
        std::vector<std::int64_t> shape;
        Fields axes = fields_of(field, kShape);
        Field axis;
        while (axes.next(axis)) {
            std::int64_t size = -1;
            Fields parts = fields_of(axis, kAxis);
            Field part;
            while (parts.next(part)) {
                if (part.number == 1) {
                    size = static_cast<std::int64_t>(part.value);  // some exporters write -1 for an open axis
                    if (size < -1) {
                        throw NotOnnxError(text_of("a value has an axis of size ", size));
                    }
                } else if (part.number == 2) {
                    text(part);
                } else {
                    skip(part);
                }
            }
            shape.push_back(size);
        }
        if (shape.size() > 8) {
            throw NotOnnxError(text_of("the value ", shown(found.name), " has ", shape.size(), " axes"));
        }
        found.shape = std::move(shape);
    }

    std::span<const std::uint8_t> data_;
    OnnxBounds bounds_;
    std::size_t metadata_left_;
};

}  // namespace

std::uint64_t bytes_of_onnx_type(int type) {
    switch (type) {
        case 2: case 3: case 9: case 17: case 18: case 19: case 20: return 1;
        case 4: case 5: case 10: case 16: return 2;
        case 1: case 6: case 12: return 4;
        case 7: case 11: case 13: return 8;
        default: return 0;
    }
}

std::uint64_t OnnxTensor::bytes() const {
    return count_in(shape, name) * bytes_of_onnx_type(type);
}

OnnxModel walk_onnx(std::span<const std::uint8_t> data, const OnnxBounds& bounds) {
    return Walker(data, bounds).model();
}

}  // namespace clsclip
