/// The strict reader of ONNX files, on graphs written here field by field: what it finds, and what it refuses.
#include <random>

#include "bundle/graph_rules.hpp"
#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

namespace {

std::string number(std::uint64_t value, int more = 0) {
    std::string bytes;
    for (; value > 0x7F; value >>= 7) {
        bytes += static_cast<char>((value & 0x7F) | 0x80);
    }
    bytes += static_cast<char>(value);
    for (int at = 0; at < more; ++at) {  // longer than it need be
        bytes.back() = static_cast<char>(bytes.back() | '\x80');
        bytes += '\0';
    }
    return bytes;
}

std::string field(std::uint32_t tag, std::uint64_t value) { return number(std::uint64_t{tag} << 3) + number(value); }

std::string field(std::uint32_t tag, const std::string& content) {
    return number((std::uint64_t{tag} << 3) | 2) + number(content.size()) + content;
}

std::string value(const std::string& name, std::uint64_t type, std::uint64_t size) {
    const std::string axis = field(1, field(1, size));
    return field(1, name) + field(2, field(1, field(1, type) + field(2, axis)));
}

std::string tensor(const std::string& name, std::uint64_t type, std::uint64_t size, const std::string& bytes) {
    return field(1, size) + field(2, type) + field(8, name) + field(9, bytes);
}

std::string node(const std::string& op, const std::vector<std::string>& inputs, const std::string& output) {
    std::string made;
    for (const std::string& one : inputs) {
        made += field(1, one);
    }
    return made + field(2, output) + field(4, op);
}

/// A model of two numbers: y = x + w.
struct Model {
    std::string format = field(1, 10);
    std::string nodes = field(1, node("Add", {"x", "w"}, "y"));
    std::string weights = field(5, tensor("w", 1, 2, std::string(8, '\0')));
    std::string inputs = field(11, value("x", 1, 2));
    std::string outputs = field(12, value("y", 1, 2));
    std::string inside, opset = field(8, field(1, "") + field(2, 18)), after;

    [[nodiscard]] std::string bytes() const {
        return format + field(7, nodes + field(2, "g") + weights + inputs + outputs + inside) + opset + after;
    }
};

OnnxModel walk(const std::string& bytes) {
    return checked_onnx({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, bundle_rules());
}

/// Why a model is refused.
template <class Change>
std::string why(Change change) {
    Model model;
    change(model);
    try {
        (void)walk(model.bytes());
    } catch (const NotOnnxError& error) {
        return error.what();
    } catch (const UnknownGraphError& error) {
        return error.what();
    }
    return "it is taken";
}

}  // namespace

TEST_CASE("The reader finds what a graph says") {
    const OnnxModel model = walk(Model{}.bytes());
    CHECK(model.ir_version == 10);
    CHECK(model.opsets.at("") == 18);
    REQUIRE(model.nodes.size() == 1);
    CHECK(model.nodes[0].op == "Add");
    CHECK(model.nodes[0].inputs == std::vector<std::string>{"x", "w"});
    REQUIRE(model.tensors.size() == 1);
    CHECK(model.tensors[0].shape == Shape{2});
    CHECK(model.tensors[0].end - model.tensors[0].start == 8);
    CHECK(model.inputs[0].shape == std::vector<std::int64_t>{2});
}

TEST_CASE("Encodings that no exporter writes are refused") {
    CHECK_THROWS_WITH(walk(""), says("is empty"));
    const std::string good = Model{}.bytes();
    CHECK_THROWS_AS(walk(good.substr(0, good.size() - 3)), NotOnnxError);
    CHECK_THROWS_AS(walk(std::string(20, '\xff')), NotOnnxError);
    CHECK_THAT(why([](Model& one) { one.after = number((std::uint64_t{1} << 32) | 114) + number(0); }),
               says("more than 32 bits"));
    CHECK_THAT(why([](Model& one) { one.after = number(std::uint64_t{1} << 40) + number(0); }), says("more than 32 bits"));
    CHECK_THAT(why([](Model& one) { one.after = number(114, 1) + number(0); }), says("no exporter does"));
    CHECK_THAT(why([](Model& one) { one.after = number(114) + number(0, 2); }), says("no exporter does"));
    CHECK_THAT(why([](Model& one) { one.after = field(31, "x"); }), says("no exporter writes"));
    CHECK_THAT(why([](Model& one) { one.after = "\x0b\x0c"; }), says("group"));
    CHECK_THAT(why([](Model& one) { one.after = field(7, ""); }), says("comes twice"));
    CHECK_THAT(why([](Model& one) { one.format = "\x09" + std::string(8, '\0'); }), says("no exporter writes"));
    CHECK_THAT(why([](Model& one) { one.after = field(14, std::string(std::size_t{2} << 20, 'x')); }), says("metadata"));
    CHECK_THAT(why([](Model& one) {
                   for (int at = 0; at < 100'000; ++at) {
                       one.after += field(14, "");
                   }
               }),
               says("metadata"));
    CHECK_THAT(why([](Model& one) {
                   std::string parts;
                   for (int at = 0; at < 3'000'000; ++at) {
                       parts += std::string("\x6a\0", 2);
                   }
                   one.inside = parts;
               }),
               says("parts"));
}

TEST_CASE("Graphs that no exporter of bundles makes are refused") {
    const auto with_node = [](const std::string& made) {
        return why([&](Model& one) { one.nodes += field(1, made); });
    };
    CHECK_THAT(with_node(node("Sin", {"x"}, "z")), says("operator 'Sin'"));
    CHECK_THAT(with_node(node("Add", {"x", "x"}, "z") + field(7, "own")), says("of 'own'"));
    CHECK_THAT(with_node(node("Add", {"x", "x", "x"}, "z")), says("3 inputs"));
    CHECK_THAT(with_node(node("Add", {"x", "nowhere"}, "z")), says("nothing before it"));
    CHECK_THAT(with_node(node("Add", {"x", "x"}, "x")), says("two values"));
    CHECK_THAT(with_node(node("Add", {"x", "x"}, "z") + field(5, field(1, "axis") + field(3, 1) + field(20, 2))),
               says("attribute 'axis'"));
    const std::string graph = field(5, field(1, "then_branch") + field(6, "") + field(20, 5));
    CHECK_THAT(with_node(node("If", {"x"}, "z") + graph), says("field 6"));
    CHECK_THAT(why([](Model& one) { one.after = field(25, ""); }), says("field 25"));
    CHECK_THAT(why([](Model& one) { one.inside = field(15, ""); }), says("field 15"));
    CHECK_THAT(why([](Model& one) { one.opset = field(8, field(1, "") + field(2, 99)); }), says("operator sets"));
    CHECK_THAT(why([](Model& one) { one.format = field(1, 99); }), says("ONNX format 99"));
    CHECK_THAT(why([](Model& one) { one.weights = field(5, tensor("w", 8, 2, std::string(8, '\0'))); }), says("type 8"));
    CHECK_THAT(why([](Model& one) { one.weights = field(5, tensor("w", 1, 3, std::string(8, '\0'))); }),
               says("8 bytes, and 12"));
    CHECK_THAT(why([](Model& one) {
                   one.weights = field(5, tensor("w", 1, std::uint64_t{1} << 62, std::string(8, '\0')));
               }),
               says("has the shape"));
    CHECK_THAT(why([](Model& one) { one.outputs = field(12, value("y", 8, 2)); }), says("type 8"));
    CHECK_THAT(why([](Model& one) { one.outputs = field(12, value("y", 7, 2)); }), says("said to be of type 7"));
    CHECK_THAT(why([](Model& one) { one.outputs.clear(); }), says("no outputs"));
    CHECK_THAT(why([](Model& one) { one.inputs = field(11, value("x\x1b[2J", 1, 2)); }), says("not printable"));
    CHECK_THAT(why([](Model& one) { one.inputs = field(11, value("\xff", 1, 2)); }), says("not UTF-8"));
}

TEST_CASE("Weights in other files are named as exporters name them") {
    const auto placed = [](const std::vector<std::pair<std::string, std::string>>& entries, std::uint64_t location = 1) {
        return why([&](Model& one) {
            std::string made = field(1, 2) + field(2, 1) + field(8, "w") + field(14, location);
            for (const auto& [key, text] : entries) {
                made += field(13, field(1, key) + field(2, text));
            }
            one.weights = field(5, made);
        });
    };
    CHECK(placed({{"location", "a.weights"}, {"offset", "0"}, {"length", "8"}}) == "it is taken");
    CHECK_THAT(placed({{"location", "a"}, {"location", "b"}}), says("twice"));
    CHECK_THAT(placed({{"location", "a"}, {"extra", "1"}}), says("no exporter"));
    CHECK_THAT(placed({{"location", "a"}, {"offset", "-1"}}), says("no number of bytes"));
    CHECK_THAT(placed({{"location", "a"}, {"length", "4"}}), says("by its shape"));
    CHECK_THAT(placed({{"offset", "0"}}), says("names no file"));
    CHECK_THAT(placed({{"location", "a"}}, 0), says("several places"));
}

TEST_CASE("A small graph cannot make much") {
    const auto expanded = [](std::int64_t size) {
        return why([&](Model& one) {
            std::string bytes;
            for (int shift = 0; shift < 64; shift += 8) {
                bytes += static_cast<char>((static_cast<std::uint64_t>(size) >> shift) & 0xFF);
            }
            one.weights += field(5, tensor("much", 7, 1, bytes));
            one.nodes += field(1, node("Expand", {"x", "much"}, "z"));
        });
    };
    CHECK_THAT(expanded(std::int64_t{1} << 40), says("too many values"));
    CHECK(expanded(4) == "it is taken");
}

TEST_CASE("Whole numbers are divided by constants above zero alone") {
    const auto divided = [](const std::string& by, std::int64_t divisor) {
        return why([&](Model& one) {
            std::string bytes;
            for (int shift = 0; shift < 64; shift += 8) {
                bytes += static_cast<char>((static_cast<std::uint64_t>(divisor) >> shift) & 0xFF);
            }
            one.weights += field(5, tensor("by", 7, 1, bytes));
            one.inputs += field(11, value("n", 7, 2));
            one.nodes += field(1, node("Div", {"n", by}, "z") + field(3, "a node"));
        });
    };
    CHECK(divided("by", 1) == "it is taken");
    const auto refused = says("divides whole numbers (node 'a node', Div) by what is not a constant above zero");
    CHECK_THAT(divided("by", 0), refused);
    CHECK_THAT(divided("by", -1), refused);
    CHECK_THAT(divided("n", 1), refused);
}

TEST_CASE("Attributes give sizes that there are") {
    const auto convolved = [](const std::string& name, std::uint64_t size, bool list) {
        return why([&](Model& one) {
            one.weights += field(5, tensor("k", 1, 1, std::string(4, '\0')));
            const std::string given = list ? field(8, size) + field(20, 7) : field(3, size) + field(20, 2);
            one.nodes += field(1, node("Conv", {"x", "k"}, "z") + field(5, field(1, name) + given));
        });
    };
    const auto refused = says("with a size that none has");
    CHECK(convolved("group", 1, false) == "it is taken");
    CHECK(convolved("strides", 65536, true) == "it is taken");
    CHECK_THAT(convolved("group", 0, false), refused);
    CHECK_THAT(convolved("group", ~std::uint64_t{0}, false), refused);
    CHECK_THAT(convolved("strides", 0, true), refused);
    CHECK_THAT(convolved("kernel_shape", 65537, true), refused);
}

TEST_CASE("Any bytes are taken or refused") {
    std::mt19937 random(7);
    const std::string good = Model{}.bytes();
    for (int round = 0; round < 20'000; ++round) {
        std::string bytes = good;
        for (std::size_t times = 1 + random() % 4; times > 0; --times) {
            const std::size_t at = random() % bytes.size();
            switch (random() % 4) {
                case 0: bytes[at] = static_cast<char>(random()); break;
                case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8)); break;
                case 2: bytes.insert(at, 1 + random() % 9, static_cast<char>(random())); break;
                default: bytes.erase(at, 1 + random() % 9);
            }
            if (bytes.empty()) {
                bytes = "\x08";
            }
        }
        try {
            (void)walk(bytes);
        } catch (const NotOnnxError&) {
        } catch (const UnknownGraphError&) {
        }  // anything else ends the test
    }
    SUCCEED();
}
