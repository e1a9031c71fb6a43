#include "text/word_table.hpp"

#include <cstring>

#include "json.hpp"
#include "sha256.hpp"
#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;
namespace fs = std::filesystem;

namespace {

const std::vector<FeatureSpec> kFeatures{{"tokens", {2, 3}, true, false, false}, {"vector", {2}, false, true, false}};

/// A safetensors file: its header, and its values behind it.
void write_table(const fs::path& path, const Json& header, const std::vector<float>& values) {
    const std::string text = header.dump();
    std::string bytes;
    for (int at = 0; at < 8; ++at) {
        bytes += static_cast<char>(text.size() >> (8 * at) & 255);
    }
    bytes += text;
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    write(path, bytes);
}

/// A safetensors file of two words, whose values count up; `change` edits its header.
template <class Change>
void make_table(const fs::path& path, const Change& change) {
    std::vector<float> values;
    for (int at = 0; at < 16; ++at) {
        values.push_back(static_cast<float>(at));
    }
    Json header{{"__metadata__", {{"words", Json({"dog", "teddy bear"}).dump()}, {"schema_version", "2"}}},
                {"tokens", {{"dtype", "F32"}, {"shape", {2, 2, 3}}, {"data_offsets", {0, 48}}}},
                {"vector", {{"dtype", "F32"}, {"shape", {2, 2}}, {"data_offsets", {48, 64}}}}};
    change(header);
    write_table(path, header, values);
}

}  // namespace

TEST_CASE("Words of a table are found with all their features") {
    const Folder folder;
    const fs::path path = folder.path() / "words.safetensors";
    make_table(path, [](Json&) {});
    const WordTable table(path, std::make_shared<FileBytes>(path), kFeatures);
    CHECK(table.words() == std::vector<std::string>{"dog", "teddy bear"});
    const auto bear = table.find("teddy bear");
    REQUIRE(bear);
    CHECK(bear->features.at("tokens") == std::vector<float>{6, 7, 8, 9, 10, 11});
    CHECK(bear->features.at("vector") == std::vector<float>{14, 15});
    CHECK_FALSE(bear->truncated);
    CHECK_FALSE(table.find("Dog"));
}

TEST_CASE("A bundle's own words need no tokenizer", "[backend][table]") {
    const Folder folder;
    const fs::path bundle = folder.tiny();
    const std::vector<float> red{1, 0, 0, 1, 0, 0};  // as token, and as feature
    write_table(bundle / "text_tokens.safetensors",
                {{"__metadata__", {{"words", "[\"rouge\"]"}, {"schema_version", "2"}}},
                 {"text_tokens", {{"dtype", "F32"}, {"shape", {1, 3}}, {"data_offsets", {0, 12}}}},
                 {"text_features", {{"dtype", "F32"}, {"shape", {1, 3}}, {"data_offsets", {12, 24}}}}},
                red);
    const std::string bytes = read(bundle / "text_tokens.safetensors");
    Sha256 digest;
    digest.update({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    Json manifest = Json::parse(read(bundle / "manifest.json"));
    manifest["files"]["text_tokens.safetensors"] = {{"sha256", digest.hex()}, {"bytes", bytes.size()}};
    write(bundle / "manifest.json", manifest.dump());
    const Segmenter segmenter = Segmenter::load(bundle);
    const Scene scene;
    CHECK(segmenter(scene.view(), {"rouge"}).area(0) == 140);
#ifdef CLSCLIP_HAS_TOKENIZER
    CHECK(segmenter(scene.view(), {"red"}).area(0) == 140);
#else
    CHECK_THROWS_WITH(segmenter(scene.view(), {"red"}), says("has no tokenizer, so it knows 1 words and 'red' is not"));
    CHECK_THROWS_WITH(Segmenter::load(kTiny), says("has no text_tokens.safetensors. Export it with"));
#endif
}

TEST_CASE("Tables say which words were cut off") {
    const Folder folder;
    const fs::path path = folder.path() / "words.safetensors";
    make_table(path, [](Json& header) { header["__metadata__"]["truncated"] = "[\"dog\"]"; });
    const WordTable table(path, std::make_shared<FileBytes>(path), kFeatures);
    CHECK(table.find("dog")->truncated);
    CHECK_FALSE(table.find("teddy bear")->truncated);
}

TEST_CASE("Values of tables must be finite, and of unit length where they are said to be") {
    const Folder folder;
    const fs::path path = folder.path() / "words.safetensors";
    make_table(path, [](Json&) {});
    std::vector<FeatureSpec> features = kFeatures;
    features[1].unit_norm = true;
    CHECK_THROWS_WITH(WordTable(path, std::make_shared<FileBytes>(path), features), says("vector: not of unit length for the word 'dog'"));
    std::string bytes = read(path);
    bytes.replace(bytes.size() - 4, 4, std::string("\0\0\xc0\x7f", 4));
    write(path, bytes);
    CHECK_THROWS_WITH(WordTable(path, std::make_shared<FileBytes>(path), kFeatures), says("NaN or infinity for the word 'teddy bear'"));
}

TEST_CASE("Damaged tables are refused with the reason") {
    struct Wrong {
        const char* place;
        Json value;
        const char* message;
    };
    const std::vector<Wrong> all{
        {"/__metadata__/words", "[\"dog\"]", "tokens"},
        {"/__metadata__/words", "[\"dog\", \"dog\"]", "comes twice"},
        {"/__metadata__/words", "[\" dog\", \"cat\"]", "not clean"},
        {"/__metadata__/words", "dog", "the list of words"},
        {"/__metadata__/words", 5, "the list of words"},
        {"/__metadata__/words", "[]", "there is no word"},
        {"/__metadata__/truncated", "[\"cat\"]", "is not among the words"},
        {"/__metadata__/schema_version", "3", "upgrade clsclip"},
        {"/tokens/dtype", "F16", "must be F32"},
        {"/tokens/shape", {2, 6}, "must be F32 of shape (2, 2, 3)"},
        {"/vector/data_offsets", {48, 68}, "not where the header says"},
        {"/vector/data_offsets", {64, 48}, "not where the header says"},
        {"/vector/data_offsets", {18446744073709551608ULL, 8}, "not where the header says"},
        {"/vector", nullptr, "vector"},
    };
    const Folder folder;
    const fs::path path = folder.path() / "words.safetensors";
    for (const Wrong& one : all) {
        make_table(path, [&](Json& header) { header[Json::json_pointer(one.place)] = one.value; });
        INFO(one.place << " = " << one.value);
        CHECK_THROWS_WITH(WordTable(path, std::make_shared<FileBytes>(path), kFeatures), says(one.message));
        CHECK_THROWS_AS(WordTable(path, std::make_shared<FileBytes>(path), kFeatures), BundleError);
    }
    make_table(path, [](Json&) {});
    const std::string good = read(path);
    for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{40}, good.size() - 1}) {
        write(path, good.substr(0, size));
        CHECK_THROWS_AS(WordTable(path, std::make_shared<FileBytes>(path), kFeatures), BundleError);
    }
    write(path, std::string(8, '\xff') + good.substr(8));
    CHECK_THROWS_WITH(WordTable(path, std::make_shared<FileBytes>(path), kFeatures), says("cut off"));
}
