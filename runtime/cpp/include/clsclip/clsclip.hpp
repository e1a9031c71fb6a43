/// ClsCLIP for C++: load a bundle, segment pictures by any words.
///
///     auto segmenter = clsclip::Segmenter::load("model.clsclip");
///     auto result = segmenter({pixels, width, height, 3 * width}, {"bottle", "boat"});
///     clsclip::Mask mask = result.mask(0);            // width x height, 0 or 1
///
/// A bundle's path is always given: no model is compiled in. Everything is in namespace clsclip; all texts are UTF-8.
/// What fails throws an Error, whose message says what happened, why, and what to do next. Nothing is printed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Everything here can be used through the shared library; nothing else of it can.
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

namespace clsclip {

// --- Errors ---------------------------------------------------------------------------------------------------------

/// Base of all errors of the library.
class Error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// A bundle is absent, damaged, too new, or not a bundle.
class BundleError : public Error {
    using Error::Error;
};

/// A picture cannot be used.
class ImageError : public Error {
    using Error::Error;
};

/// A class word is empty, too long, or not text.
class WordError : public Error {
    using Error::Error;
};

/// An argument has a value that makes no sense.
class OptionError : public Error {
    using Error::Error;
};

/// No engine can run the model, or its outputs are unusable.
class BackendError : public Error {
    using Error::Error;
};

/// A detector is absent, damaged, or of an unknown layout.
class DetectorError : public Error {
    using Error::Error;
};

// --- Pictures and regions -------------------------------------------------------------------------------------------

/// Order of a pixel's bytes. Alpha is straight, and is laid on white.
enum class PixelFormat { rgb, bgr, rgba, bgra, grey };

/// Bytes of one pixel.
constexpr int bytes_per_pixel(PixelFormat format) noexcept {
    switch (format) {
        case PixelFormat::rgb:
        case PixelFormat::bgr: return 3;
        case PixelFormat::rgba:
        case PixelFormat::bgra: return 4;
        case PixelFormat::grey: return 1;
    }
    return 0;
}

/// An upright picture in somebody else's memory; never copied as a whole.
struct ImageView {
    const std::uint8_t* data = nullptr;     ///< the first byte of the top row
    int width = 0;                          ///< pixels
    int height = 0;                         ///< pixels
    std::ptrdiff_t stride = 0;              ///< bytes from one row to the next; negative where rows run upwards
    PixelFormat format = PixelFormat::rgb;  ///< of every pixel
};

/// A box in pixels, xyxy; of given boxes any numbers, also outside the picture.
struct Box {
    float left = 0;
    float top = 0;
    float right = 0;
    float bottom = 0;
};

/// A box in whole pixels, xyxy, inside the picture.
struct Window {
    int left = 0;
    int top = 0;
    int right = 0;
    int bottom = 0;

    [[nodiscard]] int width() const noexcept { return right - left; }
    [[nodiscard]] int height() const noexcept { return bottom - top; }
    friend bool operator==(const Window&, const Window&) = default;
};

/// A person's or another program's box, in place of a detector's.
struct GivenBox {
    Box box;
    std::string name;  ///< what it shows; empty where it may be anything, and every word is asked of it
    float score = 1;   ///< 0..1
};

/// What becomes of a word without a region.
enum class OnMissing { whole_image, empty };

/// ClsCLIP+: how regions are looked at.
struct ZoomIn {
    double margin = 0.1;  ///< context on every side of a box, as a share of its width and height; 0..10
    int min_side = 16;    ///< windows are at least so many pixels wide and high, where the picture is
    OnMissing on_missing = OnMissing::whole_image;
    bool boxes_only = false;  ///< take the boxes themselves as masks
    bool any_class = false;   ///< forget what boxes are called, and ask every word of each
    double odds = 4;  ///< how many times likelier, as odds, a pixel near a box of its word's name is of the word; 1: no more
    std::optional<double> spill = 0.03;  ///< how far masks of such boxes may reach beyond them, as a share; none: the crop
};

// --- Results --------------------------------------------------------------------------------------------------------

/// A mask that owns its pixels.
struct Mask {
    int width = 0;
    int height = 0;
    std::vector<std::uint8_t> pixels;  ///< row by row, 1 where the word is, else 0

    [[nodiscard]] std::span<const std::uint8_t> row(int y) const {
        return std::span(pixels).subspan(static_cast<std::size_t>(y) * static_cast<std::size_t>(width),
                                         static_cast<std::size_t>(width));
    }
};

/// A mask as COCO's compressed run-length encoding, as pycocotools writes it.
struct Rle {
    int height = 0;
    int width = 0;
    std::string counts;
};

/// One mask of one word: in a region, or in the whole picture.
struct Region {
    std::size_t word = 0;                 ///< position among the words asked
    Box box;                              ///< as it was given or found, cut at the picture's edges
    Window window;                        ///< the crop that was looked at
    std::optional<std::string> name;      ///< what the box's source calls it; none where it may be anything
    float score = 1;                      ///< 0..1, to rank instances by
    std::optional<float> presence;        ///< 0..1, how likely the crop shows the word; none without a gate
    bool whole_image = false;             ///< there was no region of this word, or none was asked for
};

/// Which of the boxes' classes a word means, and why.
struct WordMatch {
    std::vector<std::string> names;
    std::string how;  ///< exact, plural, synonym, nearest, any or none
    std::optional<float> similarity;
};

/// Milliseconds of one step: detect, image, text, presence or masks.
struct Timing {
    std::string step;
    double milliseconds = 0;
};

/// What a segmentation found. Move-only; owns everything but the picture, which it does not need.
class Result {
public:
    Result(Result&&) noexcept;
    Result& operator=(Result&&) noexcept;
    ~Result();

    /// The words as cleaned, each once, in the order asked. K below is their number.
    [[nodiscard]] std::span<const std::string> words() const noexcept;
    [[nodiscard]] int width() const noexcept;   ///< of the picture and the masks, pixels
    [[nodiscard]] int height() const noexcept;  ///< of the picture and the masks, pixels

    /// (K) in 0..1, how likely each word is in the picture or in the likeliest of its regions; NaN for words that were
    /// not looked for. Empty if the bundle has no gate.
    [[nodiscard]] std::span<const float> presence() const noexcept;
    /// The threshold that was used; none without a gate.
    [[nodiscard]] std::optional<double> presence_threshold() const noexcept;
    /// Whether a word was segmented; the others have an empty mask. OptionError: there is no such word.
    [[nodiscard]] bool present(std::size_t word) const;

    /// Position of a word. OptionError: it was not asked.
    [[nodiscard]] std::size_t index(std::string_view word) const;
    /// Mask of a word at the picture's size: its regions' masks joined. OptionError: there is no such word.
    [[nodiscard]] Mask mask(std::size_t word) const;
    /// The same, written to caller's memory: height rows of width bytes, `stride` bytes apart.
    void mask_to(std::size_t word, std::uint8_t* pixels, std::ptrdiff_t stride) const;
    /// Pixels of a word's mask.
    [[nodiscard]] std::int64_t area(std::size_t word) const;
    /// Mask of a word in COCO's form.
    [[nodiscard]] Rle rle(std::size_t word) const;

    /// Every mask by itself, in the order of the words: one for each box and word, and one for each word that was
    /// segmented in the whole picture.
    [[nodiscard]] std::span<const Region> regions() const noexcept;
    /// Mask of a region inside its window. OptionError: there is no such region.
    [[nodiscard]] Mask region_mask(std::size_t region) const;
    /// The low-resolution logits of a region, row by row, of mask_height x mask_width of the bundle.
    [[nodiscard]] std::span<const float> region_logits(std::size_t region) const;

    /// For every word, which of the boxes' classes it means; empty for whole-image results.
    [[nodiscard]] std::span<const WordMatch> matches() const noexcept;
    /// Where a word was looked for: "regions", "whole image", "regions, whole image" or "nowhere".
    [[nodiscard]] std::string_view looked_at(std::size_t word) const;
    /// Sentences for the user, such as words that were cut off.
    [[nodiscard]] std::span<const std::string> notes() const noexcept;
    [[nodiscard]] std::span<const Timing> timings() const noexcept;
    [[nodiscard]] const std::string& model() const noexcept;    ///< name of the bundle
    [[nodiscard]] const std::string& backend() const noexcept;  ///< name of the engine

    struct State;
    explicit Result(std::unique_ptr<State> state) noexcept;

private:
    std::unique_ptr<State> state_;
};

// --- Segmenting -----------------------------------------------------------------------------------------------------

/// How a bundle is loaded.
struct Options {
    std::string backend = "auto";      ///< "auto" takes the first of backends() that loads the bundle
    int threads = 0;                   ///< of one call of the engine; 0 lets it decide
    std::size_t memory_mb = 1024;      ///< bound in MiB on the activations of one call
    std::size_t pairs_per_call = 0;    ///< a further bound on the pairs and crops of one call; 0 is none
    std::int64_t max_pixels = 200'000'000;  ///< larger pictures are refused
    double detector_confidence = 0.25;  ///< boxes whose score is not above this are dropped
    double detector_iou = 0.7;          ///< of two boxes of one class that overlap more, the less sure one is dropped
    int max_detections = 300;           ///< at most so many boxes, the surest
};

/// What is asked of a picture beside the words.
struct Ask {
    std::optional<double> presence_threshold;  ///< 0..1; none is the bundle's own, 0 segments every word
    std::optional<ZoomIn> zoom_in;             ///< look at regions instead of the whole picture once
    std::optional<std::vector<GivenBox>> regions;  ///< in place of the detector's; given, they switch zoom_in on
};

/// Names of the engines that this build has, the preferred first: "tensorrt", "openvino", "onnxruntime-cpu".
[[nodiscard]] std::vector<std::string> backends();

/// Version of the library, such as "0.1.0".
[[nodiscard]] std::string_view version() noexcept;

/// The model of a bundle, ready to segment any class that can be named. Move-only.
///
/// operator() may be called from any number of threads at once. set_image() and predict() are about this object's
/// current picture: for several threads, share() makes another object of the same loaded model.
class Segmenter {
public:
    /// Verify a bundle and load it.
    ///
    /// Throws BundleError: the bundle is absent, damaged, too new or incomplete. BackendError: no engine works here, or
    /// it cannot load the bundle. OptionError: a value makes no sense.
    [[nodiscard]] static Segmenter load(const std::filesystem::path& bundle, const Options& options = {});

    Segmenter(Segmenter&&) noexcept;
    Segmenter& operator=(Segmenter&&) noexcept;
    ~Segmenter();

    /// Another Segmenter of the same loaded model, without a current picture.
    [[nodiscard]] Segmenter share() const;

    /// Segment words in a picture, without changing the current one.
    ///
    /// Throws ImageError, WordError, OptionError, BackendError, DetectorError.
    [[nodiscard]] Result operator()(const ImageView& image, std::span<const std::string> words,
                                    const Ask& ask = {}) const;
    [[nodiscard]] Result operator()(const ImageView& image, const std::vector<std::string>& words,
                                    const Ask& ask = {}) const {
        return (*this)(image, std::span<const std::string>(words), ask);
    }

    /// Encode a picture and make it the current one. Its pixels are not copied: they must stay where they are for as
    /// long as predict() looks at regions of it.
    void set_image(const ImageView& image);

    /// Segment words in the current picture: the image encoder has run already. OptionError: there is none.
    [[nodiscard]] Result predict(std::span<const std::string> words, const Ask& ask = {}) const;
    [[nodiscard]] Result predict(const std::vector<std::string>& words, const Ask& ask = {}) const {
        return predict(std::span<const std::string>(words), ask);
    }

    [[nodiscard]] const std::string& model() const noexcept;        ///< name of the bundle
    [[nodiscard]] const std::string& backend() const noexcept;      ///< name of the engine
    [[nodiscard]] const std::string& fingerprint() const noexcept;  ///< SHA-256 of the bundle's manifest
    /// Why "auto" passed over engines that it prefers.
    [[nodiscard]] std::span<const std::string> backend_notes() const noexcept;
    /// Whether the bundle has a detector, so that zoom_in needs no regions.
    [[nodiscard]] bool has_detector() const noexcept;
    /// Height and width of region_logits().
    [[nodiscard]] std::pair<int, int> logits_size() const noexcept;

private:
    struct Model;
    struct Current;
    explicit Segmenter(std::shared_ptr<Model> model) noexcept;
    std::shared_ptr<Model> model_;
    std::unique_ptr<Current> current_;
};

}  // namespace clsclip

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
