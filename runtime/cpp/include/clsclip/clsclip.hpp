/// ClsCLIP for C++: load a bundle, segment images by any class names.
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
#include <functional>
#include <map>
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

/// An image cannot be used.
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

/// No backend can run the model, or its outputs are unusable.
class BackendError : public Error {
    using Error::Error;
};

/// A detector is absent, damaged, or has an unknown output format.
class DetectorError : public Error {
    using Error::Error;
};

// --- Images and regions ---------------------------------------------------------------------------------------------

/// Order of a pixel's bytes. Alpha is straight, and is laid on white.
enum class PixelFormat { rgb, bgr, rgba, bgra, gray };

/// Bytes of one pixel.
constexpr int bytes_per_pixel(PixelFormat format) noexcept {
    switch (format) {
        case PixelFormat::rgb:
        case PixelFormat::bgr: return 3;
        case PixelFormat::rgba:
        case PixelFormat::bgra: return 4;
        case PixelFormat::gray: return 1;
    }
    return 0;
}

/// An upright image in the caller's memory. It is never copied as a whole.
struct ImageView {
    const std::uint8_t* data = nullptr;     ///< the first byte of the top row
    int width = 0;                          ///< pixels
    int height = 0;                         ///< pixels
    std::ptrdiff_t stride = 0;              ///< bytes from one row to the next; negative where rows run upwards
    PixelFormat format = PixelFormat::rgb;  ///< of every pixel
};

/// A box in pixels, xyxy; given boxes may have any numbers, also outside the image.
struct Box {
    float left = 0;
    float top = 0;
    float right = 0;
    float bottom = 0;
};

/// A box in whole pixels, xyxy, inside the image.
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
    std::string name;  ///< its class; empty: it is searched for every class
    float score = 1;   ///< 0..1
};

/// What a class without a region gets: a search of the whole image, or none and an empty mask.
enum class Fallback { whole_image, none };

/// ClsCLIP+: how regions are cropped and segmented.
struct ZoomIn {
    double crop_margin = 0.1;  ///< context on every side of a box, as a share of its width and height; 0..10
    int min_crop_size = 16;    ///< crops are at least this many pixels wide and high, where the image is
    Fallback fallback = Fallback::whole_image;
    bool boxes_as_masks = false;  ///< take the boxes themselves as masks
    bool class_agnostic = false;  ///< ignore the boxes' names: search every box for every class
    /// In boxes named as the class: the probability that a pixel must exceed, where the model's own threshold is 0.5.
    /// With another one both logits add up, so 0.5 always leaves the model's own.
    double mask_threshold = 0.2;
    std::optional<double> mask_margin = 0.03;  ///< how far masks reach beyond named boxes, as a share; none: to the crop's edge

    friend bool operator==(const ZoomIn&, const ZoomIn&) = default;
};

// --- Results --------------------------------------------------------------------------------------------------------

/// A mask that owns its pixels.
struct Mask {
    int width = 0;
    int height = 0;
    std::vector<std::uint8_t> pixels;  ///< row by row, 1 where the class is, else 0

    [[nodiscard]] std::span<const std::uint8_t> row(int y) const {
        return std::span(pixels).subspan(static_cast<std::size_t>(y) * static_cast<std::size_t>(width),
                                         static_cast<std::size_t>(width));
    }
};

/// A mask in COCO's compressed run-length encoding, as pycocotools writes it.
struct RleMask {
    int height = 0;
    int width = 0;
    std::string counts;
};

/// What became of a class: it has pixels; it was segmented and has none; max_classes left it out; it is not there.
enum class Status { found, empty, filtered, absent };

/// The same as a text: "found", "empty", "filtered" or "absent".
[[nodiscard]] std::string_view to_string(Status status) noexcept;

/// The result of one class.
struct ClassResult {
    std::string name;
    std::vector<std::string> prompts;  ///< the words that it was searched by: itself, or those that were given for it
    Status status = Status::absent;
    std::string reason;             ///< why it was not segmented, such as "presence below 0.55", or why nothing is left
                                    ///< of its mask; else empty
    std::optional<float> presence;  ///< 0..1, how likely the image, or the likeliest of its regions, shows it
    std::int64_t area = 0;          ///< pixels of the mask
    std::optional<Window> box;      ///< around the mask's pixels; none where there are none
    std::vector<std::string_view> searched;  ///< "regions", "whole-image", "tiles", in this order; empty where nowhere
};

/// One mask of one class: in a region, or in the whole image. What all prompts of the class find is one.
struct Instance {
    std::size_t class_index = 0;     ///< position in Result::classes()
    Box box;                         ///< as given or detected, cut at the image's edges
    Window window;                   ///< the crop that was segmented
    std::optional<std::string> name;  ///< the box's own class name; none for boxes without one and for the whole image
    float score = 1;                 ///< 0..1, to rank instances by
    std::optional<float> presence;   ///< 0..1, how likely the crop shows the class; none without a presence filter
    bool whole_image = false;        ///< there was no region of this class, or none was asked for
};

/// Which of the boxes' class names a class means, and why.
struct ClassMatch {
    std::vector<std::string> names;
    std::string how;  ///< exact, plural, synonym, nearest, any or none
    std::optional<float> similarity;
};

/// Milliseconds of one step: detect, image, text, presence, masks or refine.
struct Timing {
    std::string step;
    double milliseconds = 0;
};

/// What a segmentation found. Move-only. It does not need the image any more.
class Result {
public:
    Result(Result&&) noexcept;
    Result& operator=(Result&&) noexcept;
    ~Result();

    /// The classes as cleaned, each once, in the order asked. K below is their number.
    [[nodiscard]] std::span<const std::string> classes() const noexcept;
    [[nodiscard]] int width() const noexcept;   ///< of the image and the masks, pixels
    [[nodiscard]] int height() const noexcept;  ///< of the image and the masks, pixels

    /// Position of a class, also by a spelling that is cleaned to its name. OptionError: it was not asked.
    [[nodiscard]] std::size_t index(std::string_view name) const;
    /// All of one class; its mask is made to count its pixels. OptionError: there is no such class.
    [[nodiscard]] ClassResult operator[](std::size_t at) const;
    [[nodiscard]] ClassResult operator[](std::string_view name) const { return (*this)[index(name)]; }

    // Single values of a class by its position. OptionError: there is no such class.

    [[nodiscard]] Status status(std::size_t at) const;
    [[nodiscard]] const std::string& reason(std::size_t at) const;
    [[nodiscard]] std::optional<float> presence(std::size_t at) const;
    [[nodiscard]] std::vector<std::string_view> searched(std::size_t at) const;
    /// The mask at the image's size: the masks of its instances joined.
    [[nodiscard]] Mask mask(std::size_t at) const;
    /// The same, written to the caller's memory: height rows of width bytes, `stride` bytes apart.
    void mask_to(std::size_t at, std::uint8_t* pixels, std::ptrdiff_t stride) const;
    [[nodiscard]] std::int64_t area(std::size_t at) const;  ///< pixels of the mask
    [[nodiscard]] RleMask rle(std::size_t at) const;        ///< the mask in COCO's form

    /// The threshold of the presence filter; none where it was off.
    [[nodiscard]] std::optional<double> presence_threshold() const noexcept;
    /// The most classes of a crop that the presence filter let through; none for any number.
    [[nodiscard]] std::optional<std::size_t> max_classes() const noexcept;
    /// The request's threshold, or the model's own: the probability that a pixel must exceed.
    [[nodiscard]] double mask_threshold() const noexcept;

    /// Every mask by itself, in the order of the classes: one for each box and class, and one for each class that was
    /// segmented in the whole image.
    [[nodiscard]] std::span<const Instance> instances() const noexcept;
    /// Mask of an instance inside its window. OptionError: there is no such instance.
    [[nodiscard]] Mask instance_mask(std::size_t at) const;
    /// The logits of an instance, row by row, logits_size() of the result; of a class with several prompts the strongest
    /// at each place. OptionError: there is no such instance, or it was found in tiles and not refined.
    [[nodiscard]] std::span<const float> instance_logits(std::size_t at) const;

    /// Height and width of instance_logits(): the bundle's, or those of refined ones.
    [[nodiscard]] std::pair<int, int> logits_size() const noexcept;

    /// For every class, which of the boxes' names it means; empty for whole-image results.
    [[nodiscard]] std::span<const ClassMatch> matches() const noexcept;
    /// Number of boxes that were given or detected, or of tiles; none for whole-image results.
    [[nodiscard]] std::optional<std::size_t> region_count() const noexcept;
    /// Where those boxes come from: "boxes" for given ones, the detector's file, or "tiles"; empty for whole-image results.
    [[nodiscard]] const std::string& region_source() const noexcept;
    /// Sentences for the user, such as classes that were cut off.
    [[nodiscard]] std::span<const std::string> notes() const noexcept;
    [[nodiscard]] std::span<const Timing> timings() const noexcept;
    [[nodiscard]] const std::string& model() const noexcept;    ///< name of the bundle
    [[nodiscard]] const std::string& backend() const noexcept;  ///< name of the backend
    /// Why "auto" passed over backends that it prefers, and engines inside the bundle.
    [[nodiscard]] std::span<const std::string> backend_notes() const noexcept;

    struct State;
    explicit Result(std::unique_ptr<State> state) noexcept;

private:
    std::unique_ptr<State> state_;
};

// --- Segmenting -----------------------------------------------------------------------------------------------------

/// Most that a call may take.
struct Limits {
    std::size_t memory_mb = 1024;    ///< of the activations of one call of the backend, MiB
    std::size_t pairs_per_call = 0;  ///< of the pairs, and of the crops, of one call; 0: as many as fit, and are fast
    std::size_t result_mb = 2048;    ///< of what a result holds, MiB
    std::int64_t max_pixels = 200'000'000;  ///< of an image
};

/// Most threads of a backend: more than machines have. Backends fail on far more, each in a way of its own.
inline constexpr int kMostThreads = 1024;

/// How a bundle is loaded.
struct Options {
    std::string backend = "auto";  ///< "auto" takes the first of backends() that loads the bundle
    int threads = 0;               ///< of one call of the backend; 0 lets it decide
    Limits limits;
    std::optional<bool> presence_filter;   ///< what requests get that do not say; see Request
    std::optional<int> max_classes;        ///< likewise
    double detector_confidence = 0.25;  ///< boxes whose score is not above this are dropped
    double detector_iou = 0.7;          ///< of two boxes of one class that overlap more, the less sure one is dropped
    int max_detections = 300;           ///< most boxes of an image, the surest
    std::filesystem::path engines;      ///< folder of TensorRT's engines; empty: the user's cache
    bool trust_engines = false;  ///< load engines from there although it is not this user's cache: they are machine code
};

/// What is asked of an image beside the classes.
struct Request {
    std::optional<double> presence_threshold;  ///< 0..1; none is the bundle's own, 0 segments every class
    /// Whether presence decides which classes of a crop are segmented. None: where the bundle's threshold was trained, or
    /// a value is given here.
    std::optional<bool> presence_filter;
    std::optional<int> max_classes;  ///< most classes of a crop, the likeliest; none is any number
    std::optional<double> mask_threshold;  ///< the probability that a pixel must exceed; none is the bundle's own
    std::int64_t min_area = 0;       ///< leave out connected parts of masks with fewer pixels
    bool largest = false;            ///< keep the largest connected part of every mask alone; of regions, of each
    bool fill_holes = false;         ///< make holes of masks part of them; before the two above
    /// Segment regions instead of the whole image once: those of the detector, or tiles where the bundle has none.
    std::optional<ZoomIn> zoom_in;
    std::optional<std::vector<GivenBox>> regions;  ///< in place of the detector's; given, they switch zoom_in on
    /// Of classes that are searched by other words than their name: {"helmet", {"safety helmet", "hard hat"}}. Each word
    /// is searched as if it was asked alone; the class has what any of them finds, and the highest presence.
    std::map<std::string, std::vector<std::string>, std::less<>> prompts;
    /// Search overlapping parts of the image too, for every class and without a detector.
    bool tiles = false;
    bool refine = false;  ///< give masks the edges of the image: a guided filter on the logits
};

/// A class word as it is read: mended (entities, curly quotes, ligatures and the like), stripped, runs of white space made
/// one space. Classes of results are named so.
///
/// WordError: it is not UTF-8, is empty, has control characters, or is over 256 characters long.
[[nodiscard]] std::string clean_word(std::string_view word);

/// Names of the backends that this build has, the preferred first: "tensorrt", "openvino", "onnxruntime-cpu".
[[nodiscard]] std::vector<std::string> backends();

/// Version of the library, such as "0.2.0".
[[nodiscard]] std::string_view version() noexcept;

/// The model of a bundle, ready to segment any class that can be named. Move-only.
///
/// operator() may be called from any number of threads at once. set_image() and predict() are about this object's
/// current image: for several threads, share() makes another object of the same loaded model.
class Segmenter {
public:
    /// Verify a bundle and load it.
    ///
    /// Throws BundleError: the bundle is absent, damaged, too new or incomplete. BackendError: no backend works here, or
    /// it cannot load the bundle. OptionError: a value makes no sense.
    [[nodiscard]] static Segmenter load(const std::filesystem::path& bundle, const Options& options = {});

    Segmenter(Segmenter&&) noexcept;
    Segmenter& operator=(Segmenter&&) noexcept;
    ~Segmenter();

    /// Another Segmenter of the same loaded model, without a current image.
    [[nodiscard]] Segmenter share() const;

    /// Segment classes in an image, without changing the current one.
    ///
    /// Throws ImageError, WordError, OptionError, BackendError, DetectorError.
    [[nodiscard]] Result operator()(const ImageView& image, std::span<const std::string> classes,
                                    const Request& request = {}) const;
    [[nodiscard]] Result operator()(const ImageView& image, const std::vector<std::string>& classes,
                                    const Request& request = {}) const {
        return (*this)(image, std::span<const std::string>(classes), request);
    }

    /// Encode an image and make it the current one. Its pixels are not copied: they must stay where they are for as
    /// long as predict() is called. It is encoded for the presence filter that load() was given: a request that brings
    /// one where there was none has to encode it again.
    void set_image(const ImageView& image);

    /// Segment classes in the current image: the image encoder has run already. OptionError: there is none.
    [[nodiscard]] Result predict(std::span<const std::string> classes, const Request& request = {}) const;
    [[nodiscard]] Result predict(const std::vector<std::string>& classes, const Request& request = {}) const {
        return predict(std::span<const std::string>(classes), request);
    }

    [[nodiscard]] const std::string& model() const noexcept;        ///< name of the bundle
    [[nodiscard]] const std::string& backend() const noexcept;      ///< name of the backend
    [[nodiscard]] const std::string& fingerprint() const noexcept;  ///< SHA-256 of the bundle's manifest
    /// Why "auto" passed over backends that it prefers, and engines inside the bundle.
    [[nodiscard]] std::span<const std::string> backend_notes() const noexcept;
    /// Whether the bundle has a detector for zoom_in, which else takes tiles.
    [[nodiscard]] bool has_detector() const noexcept;
    /// Height and width of instance_logits() that are not refined.
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
