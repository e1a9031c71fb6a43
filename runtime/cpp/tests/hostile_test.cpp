/// Bundles from people who mean harm: every mutation gives an error or a result, never a crash.
#include <cstdlib>
#include <functional>
#include <random>

#include "json.hpp"
#include "sha256.hpp"
#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;
namespace fs = std::filesystem;

namespace {

const std::vector<std::string> kFiles{"manifest.json",      "tokenizer.json", "text_encoder.onnx", "image_encoder.onnx",
                                      "trunk.onnx",         "presence.onnx",      "vision.weights"};

/// Makes one mutated copy of the tiny bundle after another.
class Mutator {
public:
    explicit Mutator(std::uint32_t seed) : random_(seed) {}

    /// Change `bundle`; gives what was done.
    std::string mutate(const fs::path& bundle) {
        const std::string file = kFiles[below(kFiles.size())];
        switch (below(8)) {
            case 0: return scramble(bundle, file), file + ": bytes, digest not told";
            case 1: return fs::remove(bundle / file), file + ": gone";
            case 2: return link_out(bundle, file), file + ": a link out";
            case 3: return scramble_json(bundle, "manifest.json"), "manifest.json: values";
            case 4: return scramble_json(bundle, "tokenizer.json"), sign(bundle), "tokenizer.json: values";
            case 5: return scramble(bundle, "tokenizer.json"), sign(bundle), "tokenizer.json: bytes";
            case 6: return scramble_json(bundle, "manifest.json"), sign(bundle), "manifest.json: values, digests told";
            default: return scramble(bundle, file), sign(bundle), file + ": bytes, digest told";
        }
    }

private:
    std::size_t below(std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most - 1)(random_); }

    void scramble(const fs::path& bundle, const std::string& file) {
        std::string bytes = read(bundle / file);
        for (std::size_t times = 1 + below(6); times > 0 && !bytes.empty(); --times) {
            const std::size_t at = below(bytes.size());
            switch (below(5)) {
                case 0: bytes[at] = static_cast<char>(below(256)); break;
                case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
                case 2: bytes.resize(at); break;
                case 3: bytes.insert(at, std::string(1 + below(300), static_cast<char>(below(256)))); break;
                default: bytes.erase(at, 1 + below(40)); break;
            }
        }
        write(bundle / file, bytes);
    }

    void link_out(const fs::path& bundle, const std::string& file) {
        fs::rename(bundle / file, bundle.parent_path() / "outside");
        fs::create_symlink(below(2) == 0 ? "../outside" : "/dev/zero", bundle / file);
    }

    Json hostile_value() {
        static const std::vector<Json> values{
            nullptr, true, -1, 0, 1, 1e308, -1e-308, 9223372036854775807LL, 18446744073709551615ULL, "", "{}", "../../x",
            std::string(100000, 'a'), std::string(1, '\0'), Json::array(), Json::object(), {1, 2, 3}, {{"a", Json::array()}}, "犬"};
        return values[below(values.size())];
    }

    void scramble_json(const fs::path& bundle, const std::string& file) {
        Json document = Json::parse(read(bundle / file));
        for (std::size_t times = 1 + below(3); times > 0; --times) {
            Json* place = &document;
            while (place->is_structured() && !place->empty() && (place == &document || below(4) != 0)) {
                auto inner = place->begin();
                std::advance(inner, static_cast<std::ptrdiff_t>(below(place->size())));
                place = &*inner;
            }
            *place = hostile_value();
        }
        write(bundle / file, document.dump(-1, ' ', false, Json::error_handler_t::replace));
    }

    /// State all files as they are now, as whoever made the bundle would.
    static void sign(const fs::path& bundle) {
        Json manifest = Json::parse(read(bundle / "manifest.json"), nullptr, false);
        if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_object()) {
            return;
        }
        for (const std::string& name : kFiles) {
            if (name != "manifest.json") {
                const std::string bytes = read(bundle / name);
                Sha256 digest;
                digest.update({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
                manifest["files"][name] = {{"sha256", digest.hex()}, {"bytes", bytes.size()}};
            }
        }
        write(bundle / "manifest.json", manifest.dump(-1, ' ', false, Json::error_handler_t::replace));
    }

    std::mt19937 random_;
};

}  // namespace

TEST_CASE("500 mutated bundles give errors or results", "[backend][hostile]") {
    const Folder folder;
    const Scene scene;
    const char* wanted = std::getenv("CLSCLIP_HOSTILE_SEED");  // one alone, to look at it
    const int first = wanted != nullptr ? std::atoi(wanted) : 0, last = wanted != nullptr ? first + 1 : 500;
    int errors = 0, results = 0;
    for (int seed = first; seed < last; ++seed) {
        const fs::path bundle = folder.tiny();
        const std::string what = Mutator(static_cast<std::uint32_t>(seed)).mutate(bundle);
        INFO("seed " << seed << ", " << what);
        if (wanted != nullptr || std::getenv("CLSCLIP_HOSTILE_TELL") != nullptr) {
            std::fprintf(stderr, "seed %d, %s\n", seed, what.c_str());
        }
        try {
            Options options;
            options.threads = 1;
            const Segmenter segmenter = Segmenter::load(bundle, options);
            (void)segmenter(scene.view(), {"red", "dining table", "犬"}).mask(0);
            ++results;
        } catch (const Error& error) {
            ++errors;
            CHECK(std::string(error.what()).size() > 20);
        }  // anything else ends the test
    }
    CHECK((wanted != nullptr || results > 0));
    CHECK((wanted != nullptr || errors > 300));
}
