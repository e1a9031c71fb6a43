#include <fstream>
#include <iterator>

#include "bundle/clip_bounds.hpp"
#include "bundle/graph_rules.hpp"
#include "bundle/manifest.hpp"
#include "parts.hpp"

namespace clsclip::parts {

void add_bundles(Answers& answers) {
    // What the strict reader says of a graph in a file; why it is refused, and by which of the two errors.
    answers["walk"] = [](const Json& question) -> Json {
        std::ifstream file(question.at("file").get<std::string>(), std::ios::binary);
        const std::vector<std::uint8_t> bytes(std::istreambuf_iterator<char>(file), {});
        try {
            const bool detector = question.value("detector", false);
            const OnnxModel model = checked_onnx(bytes, detector ? detector_rules() : bundle_rules());
            return {{"nodes", model.nodes.size()}, {"tensors", model.tensors.size()}, {"ir_version", model.ir_version}};
        } catch (const NotOnnxError& error) {
            return {{"refused", "NotOnnxError"}, {"why", error.what()}};
        } catch (const UnknownGraphError& error) {
            return {{"refused", "UnknownGraphError"}, {"why", error.what()}};
        }
    };
    // What engines get of a graph in a file, written into another.
    answers["graph_bytes"] = [](const Json& question) -> Json {
        std::ifstream file(question.at("file").get<std::string>(), std::ios::binary);
        const std::vector<std::uint8_t> bytes(std::istreambuf_iterator<char>(file), {});
        const std::string found = graph_bytes(bytes, checked_onnx(bytes, bundle_rules()));
        std::ofstream(question.at("out").get<std::string>(), std::ios::binary) << found;
        return found.size();
    };
    answers["manifest"] = [](const Json& question) -> Json {
        return parse_manifest(question.at("document").get<std::string>(), "OLD").name;
    };
}

}  // namespace clsclip::parts
