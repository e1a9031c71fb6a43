/// `manifest.json` of a bundle, checked and typed.
///
/// Unknown keys are ignored, so that a newer exporter can add some; a required key that is missing or has the wrong type
/// is named in the error.
#pragma once

#include <cmath>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace clsclip {

/// How a picture becomes the encoder's input: resized to size x size pixels, then normalised per channel.
struct ImageSpec {
    int size = 0;
    std::array<double, 3> mean{};
    std::array<double, 3> std{};
    std::string resize;
    std::string filter;
};

/// How a word becomes tokens: put into every template, truncated and padded to context_length tokens.
struct TextSpec {
    int context_length = 0;
    std::vector<std::string> templates;
    std::int64_t pad_token_id = 0;
};

/// Size of the logits (pixels) and the probability above which a pixel belongs to the word.
struct MaskSpec {
    double threshold = 0;
    int height = 0;
    int width = 0;

    /// The threshold as a logit.
    [[nodiscard]] double cut() const { return std::log(threshold) - std::log1p(-threshold); }
};

/// How a detector is run, so that its file need not be asked.
struct DetectorSpec {
    std::string layout;
    std::vector<std::string> names;
    int height = 0;
    int width = 0;
    std::string colours;  ///< "rgb" or "bgr"
    double white = 0;     ///< the input's value for white
    std::string place;    ///< "centre" or "top-left"
    std::optional<int> batch;
    std::string input_type;  ///< "float32" or "float16"
    bool agnostic = false;
};

/// What a file of the bundle must be: lower-case hexadecimal SHA-256 and size in bytes.
struct FileEntry {
    std::string sha256;
    std::uint64_t bytes = 0;
};

struct Manifest {
    std::string name;
    std::string licence;
    std::string precision;
    std::optional<int> patch_size;  ///< of the image encoder, where the manifest states it
    std::optional<int> width;       ///< likewise
    ImageSpec image;
    TextSpec text;
    MaskSpec mask;
    std::optional<double> presence_threshold;  ///< none without a gate
    std::optional<DetectorSpec> detector;
    std::map<std::string, FileEntry> files;
};

/// Parse and check the document. BundleError: it is not JSON, is of a newer schema, or a key is missing or wrong.
[[nodiscard]] Manifest parse_manifest(std::string_view document);

/// BundleError unless the name is a plain relative path that stays inside its folder on every system.
void check_file_name(std::string_view name);

}  // namespace clsclip
