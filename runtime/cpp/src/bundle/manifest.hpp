/// `manifest.json` of a bundle, checked and typed.
///
/// Unknown keys are ignored, so that a newer exporter can add some; what a runtime must know stands in `requires`, and an
/// unknown entry there is refused. A required key that is missing or has the wrong type is named in the error.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph.hpp"

namespace clsclip {

/// How an image becomes the encoder's input: resized to size x size pixels, then normalized per channel.
struct ImageSpec {
    int size = 0;
    std::array<double, 3> mean{};
    std::array<double, 3> std{};
    std::string resize;
    std::string interpolation;
};

/// One array of a crop or of a word. Only graphs know what it means.
struct FeatureSpec {
    std::string name;
    Shape shape;  ///< without the first axis, the crop or the word
    bool for_trunk = false;
    bool for_presence = false;
    bool unit_norm = false;  ///< of words alone: divided by its length

    /// Number of values of one crop or word.
    [[nodiscard]] std::size_t values() const { return count_of(shape); }
    /// (rows, shape...).
    [[nodiscard]] Shape with_rows(std::int64_t rows) const;
};

/// How a word becomes tokens, and what the text encoder gives for them.
struct TextSpec {
    int context_length = 0;  ///< prompts are cut off and padded to this many tokens
    std::vector<std::string> templates;
    std::int64_t pad_token_id = 0;
    std::vector<FeatureSpec> features;
    std::optional<std::string> matching;  ///< the feature by whose cosine words are compared with class names
};

/// The lowest probability above which a pixel may belong to a class; the highest is as far from 1.
inline constexpr double kLeastThreshold = 1e-6;

/// Size of the logits (pixels) and the probability above which a pixel belongs to the class.
struct MaskSpec {
    double threshold = 0;
    int height = 0;
    int width = 0;
};

/// Where presence scores come from.
struct PresenceSpec {
    bool from_trunk = false;  ///< as an output of the trunk; else from presence.onnx, before the trunk runs
    bool as_logit = false;    ///< the graph gives logits; else probabilities
    double threshold = 0;     ///< a probability
    double least_confidence = 0;  ///< logits of masks that are less sure are lowered; 0 lowers none
};

/// How the whole image is searched in overlapping tiles too.
struct TilesSpec {
    std::vector<int> scales;  ///< for each how many tiles there are along either side
    double overlap = 0;       ///< what neighbors share, as a share of a tile's side
    double presence_threshold = 0;  ///< a probability, higher than a whole image's as a rule: nobody chose a tile
};

/// Estimated peaks of activations in bytes.
struct MemorySpec {
    std::uint64_t crop_bytes = 0;           ///< of a crop in the image encoder
    std::uint64_t pair_bytes = 0;           ///< of a pair in the trunk
    std::uint64_t presence_pair_bytes = 0;  ///< of a crop and a class in presence.onnx
    std::uint64_t word_bytes = 0;           ///< of a row of tokens in the text encoder
};

/// How a detector is run, so that its file need not be asked.
struct DetectorSpec {
    std::string output_format;
    std::vector<std::string> names;
    int height = 0;
    int width = 0;
    std::string channel_order;  ///< "rgb" or "bgr"
    double input_scale = 0;     ///< the input's value for white
    std::string letterbox;      ///< where the image lies in the input: "center", "top-left", or "stretch" where it fills it
    std::optional<int> batch;
    std::string input_type;  ///< "float32" or "float16"
    bool class_agnostic = false;
};

/// A line through features that tells images which the model does not know.
struct DomainTest {
    /// By image feature of d values a place: 2 d, of its mean and of its standard deviation over its places.
    std::map<std::string, std::vector<double>> weights;
    double bias = 0;  ///< added; above 0 an image is far from what the model knows
};

/// What a model knows.
struct DomainSpec {
    std::string name;
    std::string description;  ///< completes "it knows"
    std::optional<DomainTest> test;
};

/// What a file of the bundle must be: lower-case hexadecimal SHA-256 and size in bytes.
struct FileEntry {
    std::string sha256;
    std::uint64_t bytes = 0;
};

struct Manifest {
    std::string name;
    std::string license;
    std::string precision;
    ImageSpec image;
    std::vector<FeatureSpec> features;  ///< of crops
    TextSpec text;
    MaskSpec mask;
    std::optional<PresenceSpec> presence;
    MemorySpec memory;
    std::optional<DetectorSpec> detector;
    std::optional<TilesSpec> tiles;  ///< none where nobody fitted them
    std::optional<DomainSpec> domain;
    std::map<std::string, FileEntry> files;
    std::optional<std::string> doubt;  ///< a note, where nobody validated the model

};

/// Parse and check the document; `folder` is for messages. BundleError: it is not JSON, has another schema, needs what
/// this version does not know, or a key is missing or wrong.
[[nodiscard]] Manifest parse_manifest(std::string_view document, const std::string& folder);

/// BundleError unless the name is a plain relative path that stays inside its folder on every system.
void check_file_name(std::string_view name);

}  // namespace clsclip
