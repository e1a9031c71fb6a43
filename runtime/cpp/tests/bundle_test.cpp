#include "bundle/bundle.hpp"

#include "json.hpp"
#include "sha256.hpp"
#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;
namespace fs = std::filesystem;

namespace {

/// Change the manifest of a bundle.
template <class Change>
void edit(const fs::path& bundle, const Change& change) {
    Json manifest = Json::parse(read(bundle / "manifest.json"));
    change(manifest);
    write(bundle / "manifest.json", manifest.dump());
}

/// State what a file is now, as whoever made the bundle would.
void sign(const fs::path& bundle, const std::string& name) {
    const std::string bytes = read(bundle / name);
    Sha256 digest;
    digest.update({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    const std::string hex = digest.hex();
    edit(bundle, [&](Json& manifest) { manifest["files"][name] = {{"sha256", hex}, {"bytes", bytes.size()}}; });
}

}  // namespace

TEST_CASE("A good bundle opens") {
    const Bundle bundle = Bundle::open(kTiny);
    CHECK(bundle.manifest.name == "tiny");
    CHECK(bundle.manifest.presence->threshold == 0.9);
    CHECK(bundle.manifest.image.size == 32);
    CHECK(bundle.fingerprint.size() == 64);
    CHECK(bundle.path("trunk.onnx") == fs::canonical(kTiny) / "trunk.onnx");
    CHECK_THROWS_AS(bundle.path("other.onnx"), BundleError);
}

TEST_CASE("What is no bundle is told so") {
    const Folder folder;
    CHECK_THROWS_WITH(Bundle::open(folder.path() / "none"), says("no such bundle"));
    CHECK_THROWS_WITH(Bundle::open(folder.path()), says("has no manifest.json"));
    CHECK_THROWS_WITH(Bundle::open(kTiny / "manifest.json"), says("is a file"));
    CHECK_THROWS_WITH(Bundle::open(""), says("no such bundle"));
}

TEST_CASE("Files that are missing or changed are found") {
    const Folder folder;
    const fs::path bundle = folder.tiny();
    SECTION("missing") {
        fs::remove(bundle / "trunk.onnx");
        CHECK_THROWS_WITH(Bundle::open(bundle), says("trunk.onnx is missing"));
    }
    SECTION("longer") {
        write(bundle / "trunk.onnx", read(bundle / "trunk.onnx") + "x");
        CHECK_THROWS_WITH(Bundle::open(bundle), says("bytes, and the manifest says"));
    }
    SECTION("one bit") {
        std::string bytes = read(bundle / "vision.weights");
        bytes[7] = static_cast<char>(bytes[7] ^ 1);
        write(bundle / "vision.weights", bytes);
        CHECK_THROWS_WITH(Bundle::open(bundle), says("its SHA-256 is not the one"));
    }
    SECTION("line ends that Git has changed") {
        std::string windows;
        for (const char one : read(bundle / "tokenizer.json")) {
            windows += one == '\n' ? std::string("\r\n") : std::string(1, one);
        }
        write(bundle / "tokenizer.json", windows);
        CHECK_THROWS_WITH(Bundle::open(bundle), says("has changed its line ends"));
    }
    SECTION("a pointer of Git LFS") {
        write(bundle / "vision.weights", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n");
        CHECK_THROWS_WITH(Bundle::open(bundle), says("git lfs pull"));
    }
    SECTION("a folder in its place") {
        fs::remove(bundle / "trunk.onnx");
        fs::create_directory(bundle / "trunk.onnx");
        CHECK_THROWS_WITH(Bundle::open(bundle), says("trunk.onnx is missing"));
    }
    SECTION("half of the text encoder") {
        edit(bundle, [](Json& manifest) { manifest["files"].erase("text_encoder.onnx"); });
        CHECK_THROWS_WITH(Bundle::open(bundle), says("has no text_encoder.onnx"));
    }
    SECTION("no words at all") {
        edit(bundle, [](Json& manifest) {
            manifest["files"].erase("text_encoder.onnx");
            manifest["files"].erase("tokenizer.json");
        });
        CHECK_THROWS_WITH(Bundle::open(bundle), says("knows no words"));
    }
    SECTION("not listed") {
        edit(bundle, [](Json& manifest) { manifest["files"].erase("tokenizer.json"); });
        CHECK_THROWS_WITH(Bundle::open(bundle), says("has no tokenizer.json"));
    }
    SECTION("weights that nobody lists") {
        edit(bundle, [](Json& manifest) { manifest["files"].erase("vision.weights"); });
        CHECK_THROWS_WITH(Bundle::open(bundle), says("keeps weights in vision.weights"));
    }
}

TEST_CASE("Files that no reader takes are not read, whatever the manifest says of them") {
    const Folder folder;
    const fs::path bundle = folder.tiny();
    const auto grown = [&](const std::string& name, std::uintmax_t bytes) {
        fs::resize_file(bundle / name, bytes);  // the file system keeps no zeros
        edit(bundle, [&](Json& manifest) { manifest["files"][name] = {{"sha256", std::string(64, '0')}, {"bytes", bytes}}; });
    };
    SECTION("a tokenizer") {
        grown("tokenizer.json", (std::uintmax_t{32} << 20) + 1);
        CHECK_THROWS_WITH(Bundle::open(bundle), says("tokenizer.json in") &&
                                                    says("is over 32 MiB, which is the most that is read"));
    }
    SECTION("a graph") {
        grown("trunk.onnx", (std::uintmax_t{2} << 30) + 1);
        CHECK_THROWS_WITH(Bundle::open(bundle), says("trunk.onnx in") &&
                                                    says("is over 2048 MiB, which is the most that is read"));
    }
    SECTION("a tokenizer that may be read") {
        grown("tokenizer.json", std::uintmax_t{32} << 20);
        CHECK_THROWS_WITH(Bundle::open(bundle), says("its SHA-256 is not the one in the manifest"));
    }
}

TEST_CASE("Links to files with the right content are followed, and to nothing else") {
    const Folder folder;
    const fs::path bundle = folder.tiny();
    for (const char* name : {"trunk.onnx", "vision.weights", "manifest.json", "tokenizer.json"}) {  // as hubs keep them
        fs::rename(bundle / name, folder.path() / name);
        fs::create_symlink(folder.path() / name, bundle / name);
    }
    CHECK(Bundle::open(bundle).manifest.name == "tiny");
    write(folder.path() / "other", "root:x:0:0");
    for (const char* name : {"trunk.onnx", "vision.weights", "manifest.json"}) {
        for (const fs::path& target : {folder.path() / "other", fs::path("/dev/zero"), fs::path("/dev/null"),
                                       folder.path(), fs::path(name), fs::path("nowhere")}) {
            INFO(name << " -> " << target.string());
            fs::remove(bundle / name);
            fs::create_symlink(target, bundle / name);
            CHECK_THROWS_AS(Bundle::open(bundle), BundleError);
        }
        fs::remove(bundle / name);
        fs::create_symlink(folder.path() / name, bundle / name);
    }
}

TEST_CASE("A bundle that is a link itself opens") {
    const Folder folder;
    fs::create_directory_symlink(kTiny, folder.path() / "link");
    CHECK(Bundle::open(folder.path() / "link").manifest.name == "tiny");
}

TEST_CASE("Names that leave the folder, or mean something to a system, are refused") {
    for (const char* name : {"../x", "/etc/passwd", "a/../b", "a//b", "./a", "a/", "", "C:x", "a\\b", "a*", "a|b",
                                   "a\nb", "a\x7f", ".", ".."}) {
        CHECK_THROWS_AS(check_file_name(name), BundleError);
    }
    CHECK_NOTHROW(check_file_name("engines/ab12.plan"));
    CHECK_NOTHROW(check_file_name("..a"));
}

TEST_CASE("External data of a graph may not leave the folder") {
    const Folder folder;
    const fs::path bundle = folder.tiny();
    std::string graph = read(bundle / "trunk.onnx");
    const auto at = graph.find("vision.weights");
    REQUIRE(at != std::string::npos);
    graph.replace(at, 14, "../../../../x/");
    write(bundle / "trunk.onnx", graph);
    sign(bundle, "trunk.onnx");
    CHECK_THROWS_WITH(Bundle::open(bundle), says("not a plain path"));
}

TEST_CASE("What is no graph is told so") {
    const Folder folder;
    const fs::path bundle = folder.tiny();
    for (const std::string& bytes : {std::string(), std::string("\xff\xff\xff", 3), std::string("\x3a\xff\x7f", 3)}) {
        write(bundle / "trunk.onnx", bytes);
        sign(bundle, "trunk.onnx");
        CHECK_THROWS_WITH(Bundle::open(bundle), says("is not an ONNX graph"));
    }
}

TEST_CASE("Wrong keys of the manifest are named") {
    const Folder folder;
    const fs::path bundle = folder.tiny();
    const std::string good = read(bundle / "manifest.json");
    struct Wrong {
        const char* place;
        Json value;
        const char* message;
    };
    const std::vector<Wrong> all{
        {"/schema_version", 3, "schema version 3"},
        {"/schema_version", 1, "Run: clsclip-bundle upgrade tiny NEW"},
        {"/requires", {"rotated-boxes"}, "needs 'rotated-boxes', which this clsclip does not know"},
        {"/requires", "x", "'requires'"},
        {"/schema_version", 1.0, "'schema_version'"},
        {"/schema_version", true, "'schema_version'"},
        {"/schema_version", -1, "'schema_version'"},
        {"/name", " ", "'name'"},
        {"/name", 5, "'name'"},
        {"/image", Json::array(), "'image'"},
        {"/image/size", 0, "'image.size'"},
        {"/image/size", 1e9, "'image.size'"},
        {"/image/size", 18446744073709551615U, "'image.size'"},
        {"/image/mean", {1, 2}, "'image.mean'"},
        {"/image/mean", {1, 2, "3"}, "'image.mean'"},
        {"/image/std", {1, 0, 1}, "'image.std'"},
        {"/image/resize", "crop", "image.resize"},
        {"/image/interpolation", "Bicubic", "image.interpolation"},
        {"/text/context_length", 1 << 20, "'text.context_length'"},
        {"/text/templates", Json::array(), "'text.templates'"},
        {"/text/templates", {"a {} of {}"}, "'text.templates'"},
        {"/text/templates", {"nothing"}, "'text.templates'"},
        {"/text/pad_token_id", -1, "'text.pad_token_id'"},
        {"/mask/threshold", 1, "'mask.threshold'"},
        {"/mask/threshold", 0, "'mask.threshold'"},
        {"/mask/threshold", 1e-9, "'mask.threshold' in manifest.json must be a number from 1e-06 to 0.999999"},
        {"/mask/threshold", 0.9999999, "'mask.threshold'"},
        {"/mask/height", 1.5, "'mask.height'"},
        {"/presence/threshold", 1.5, "'presence.threshold'"},
        {"/presence", "yes", "'presence'"},
        {"/license/weights", nullptr, "'license.weights'"},
        {"/presence/from", "stem", "presence.from"},
        {"/presence/form", "odd", "presence.form"},
        {"/features", Json::array(), "'features'"},
        {"/features/0/name", "0tokens", "'features[0].name'"},
        {"/features/0/name", "text_tokens", "'text.features[0].name'"},
        {"/features/0/name", "mask_logits", "'features[0].name'"},
        {"/features/0/shape", {4, 0}, "'features[0].shape'"},
        {"/features/0/shape", {65536, 65536}, "'features[0].shape'"},
        {"/features/0/shape", {1, 1, 1, 1, 1, 1, 1, 1, 1}, "'features[0].shape'"},
        {"/features/0/shape", {1.5}, "'features[0].shape'"},
        {"/features/0/dtype", "float16", "features[0].dtype"},
        {"/features/0/needed_by", Json::array(), "'features[0].needed_by'"},
        {"/features/0/needed_by", {"decoder"}, "features[0].needed_by"},
        {"/domain", "photos", "'domain'"},
        {"/graphs", 5, "'graphs'"},
        {"/text/features/0/unit_norm", 1, "'text.features[0].unit_norm'"},
        {"/text/features/0/shape", {2, 3}, "'text.templates'"},  // of which there are two below
        {"/text/features/1/shape", {2, 3}, "'text.features[1].unit_norm'"},
        {"/text/matching", "text_tokens", "'text.matching'"},
        {"/text/matching", "other", "'text.matching'"},
        {"/memory/pair_bytes", -1, "'memory.pair_bytes'"},
        {"/profile/pairs", {1, 9, 8}, "'profile.pairs'"},
        {"/profile/crops", {0, 1, 2}, "'profile.crops'"},
        {"/description", 5, "'description'"},
        {"/description", std::string(4097, 'x'), "'description' in manifest.json must be a text of at most 4096"},
        {"/model", nullptr, "'model'"},
        {"/detector", {{"output_format", "yolov99"}, {"batch", 1}}, "detector.output_format"},
        {"/files/trunk.onnx/sha256", "00", "sha256"},
        {"/files/trunk.onnx/bytes", -1, "bytes"},
        {"/files/..~1x", {{"sha256", ""}, {"bytes", 1}}, "not a plain path"},
    };
    for (const Wrong& one : all) {
        Json manifest = Json::parse(good);
        manifest["text"]["templates"] = {"a {}", "the {}"};
        manifest[Json::json_pointer(one.place)] = one.value;
        INFO(one.place << " = " << one.value);
        CHECK_THROWS_WITH(parse_manifest(manifest.dump(), "tiny"), says(one.message));
        CHECK_THROWS_AS(parse_manifest(manifest.dump(), "tiny"), BundleError);
    }
    for (const char* key : {"name", "image", "text", "mask", "presence", "files", "license", "features",
                            "memory", "profile"}) {
        Json manifest = Json::parse(good);
        manifest.erase(key);
        CHECK_THROWS_WITH(parse_manifest(manifest.dump(), "tiny"), says("lacks the required key '" + std::string(key) + "'"));
    }
}

TEST_CASE("What is no JSON, or nested without end, is told so") {
    const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
    const std::string keys = "{\"a\":" + std::string(100'000, '{');
    for (const std::string& text : {std::string(), std::string("{"), std::string("nul"), std::string("{\"a\": 1e999}"),
                                   std::string("\xff\xfe{}"), deep, keys, std::string("{\"a\": NaN}")}) {
        CHECK_THROWS_AS(parse_manifest(text, "tiny"), BundleError);
    }
    const std::string whole = read(kTiny / "manifest.json");
    for (const std::string& text : {whole + std::string(1, '\0'), whole + std::string("\0}", 2), std::string(1, '\0') + whole}) {
        CHECK_THROWS_WITH(parse_manifest(text, "tiny"), says("has a NUL byte"));
    }
    CHECK_NOTHROW(parse_manifest(whole + "\n", "tiny"));
    CHECK_THROWS_WITH(parse_manifest("[]", "tiny"), says("must be an object"));
    const std::string good = read(kTiny / "manifest.json");
    CHECK(parse_manifest("\xef\xbb\xbf" + good, "tiny").name == "tiny");  // a byte order mark does no harm
}
