#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "backends/engine.hpp"
#include "bundle/bundle.hpp"
#include "clsclip/clsclip.hpp"
#include "detector.hpp"
#include "errors.hpp"
#include "graphs.hpp"
#include "images/resize.hpp"
#include "looking.hpp"
#include "regions/crops.hpp"
#include "result.hpp"
#include "text_encoder.hpp"
#include "words.hpp"

namespace clsclip {

namespace {

void check_options(const Options& options) {
    if (options.threads < 0) {
        fail<OptionError>("threads must be 0 or more, and it is ", options.threads);
    }
    if (options.memory_mb < 1 || options.memory_mb > std::size_t{1} << 40) {
        fail<OptionError>("memory_mb must be 1 or more MiB, and it is ", options.memory_mb);
    }
    if (options.max_pixels < 1) {
        fail<OptionError>("max_pixels must be 1 or more, and it is ", options.max_pixels);
    }
    check_detector_options(options);
}

void check_image(const ImageView& image, std::int64_t max_pixels) {
    const int bytes = bytes_per_pixel(image.format);
    if (image.data == nullptr || image.width < 1 || image.height < 1 || bytes == 0) {
        fail<ImageError>("a picture needs pixels, a width and a height of 1 or more and a known format, and this is ",
                         image.width, "x", image.height, image.data == nullptr ? " without pixels" : "");
    }
    if (std::int64_t{image.width} * image.height > max_pixels) {
        fail<ImageError>("the picture is ", image.width, "x", image.height, " pixels, and the limit is ", max_pixels,
                         ". Shrink it, or raise max_pixels");
    }
    if (image.stride < std::ptrdiff_t{image.width} * bytes && image.stride > -std::ptrdiff_t{image.width} * bytes) {
        fail<ImageError>("rows of ", image.width, " pixels of ", bytes, " bytes cannot be ", image.stride,
                         " bytes apart. The stride is in bytes: usually width * ", bytes);
    }
}

double threshold_of(const std::optional<double>& asked, const Manifest& manifest) {
    if (asked && !(*asked >= 0 && *asked <= 1)) {
        fail<OptionError>("presence_threshold must be a number from 0 to 1, and it is ", *asked);
    }
    return asked.value_or(manifest.presence_threshold.value_or(0.0));
}

}  // namespace

/// What is loaded once, whoever shares it.
struct Segmenter::Model {
    Options options;
    Bundle bundle;
    std::unique_ptr<Backend> backend;
    Graphs graphs;
    TextEncoder text;
    std::vector<std::string> notes;
    std::string name, backend_name;
    std::mutex detector_mutex;
    std::unique_ptr<const Detector> loaded_detector;

    Model(const Options& given, const Bundle& verified, std::unique_ptr<Backend> engine)
        : options(given), bundle(verified), backend(std::move(engine)), graphs(bundle, *backend),
          text(bundle, graphs.text(), options.memory_mb), name(bundle.manifest.name), backend_name(backend->name()) {}

    /// The bundle's detector, loaded when it is first used. OptionError: there is none.
    const Detector& detector() {
        if (!bundle.manifest.detector) {
            fail<OptionError>("zoom_in needs a detector, and the bundle '", name,
                              "' has none. Add one with clsclip-export --detector, or give regions, or leave out "
                              "zoom_in");
        }
        const std::lock_guard lock(detector_mutex);
        if (!loaded_detector) {
            loaded_detector = std::make_unique<Detector>(bundle, *backend, options);
        }
        return *loaded_detector;
    }

    Result segment(Look look, const CleanWords& clean, const Ask& ask, const std::optional<ZoomIn>& zoom,
                   Account& account);
    void match(Look& look, const CleanWords& clean, Result::State& state) const;
};

/// A picture after the image encoder.
struct Segmenter::Current {
    ImageView image;
    std::shared_ptr<const Tensors> arrays;
    std::mutex mutex;
    std::optional<Proposals> detected;  ///< the detector runs once, whatever is asked of the picture

    Proposals proposals(const Detector& detector) {
        const std::lock_guard lock(mutex);
        if (!detected) {
            detected = detector.find(image);
        }
        return *detected;
    }
};

/// What the boxes' classes are to the words.
void Segmenter::Model::match(Look& look, const CleanWords& clean, Result::State& state) const {
    const Proposals& proposals = *look.proposals;
    const auto features = [this](std::span<const std::string> words) { return text.encode(words).features.values; };
    const bool open = std::find(proposals.classes.begin(), proposals.classes.end(), kAny) != proposals.classes.end();
    for (auto& one : match_words(clean.words, proposals.names, features)) {
        // A box that may be anything is asked for words that match none.
        if (open && one.classes.empty()) {
            one.how = "any";
            one.similarity.reset();
        }
        WordMatch match{{}, one.how, one.similarity};
        for (const int number : one.classes) {
            match.names.push_back(proposals.names[static_cast<std::size_t>(number)]);
        }
        look.classes.push_back(std::move(one.classes));
        state.matches.push_back(std::move(match));
    }
}

Result Segmenter::Model::segment(Look look, const CleanWords& clean, const Ask& ask, const std::optional<ZoomIn>& zoom,
                                 Account& account) {
    const Manifest& manifest = bundle.manifest;
    const double threshold = threshold_of(ask.presence_threshold, manifest);
    auto state = std::make_unique<Result::State>();
    state->words = clean.words;
    state->width = look.image.width;
    state->height = look.image.height;
    state->model = name;
    state->backend = backend_name;
    state->notes = clean.notes;
    if (look.proposals && zoom->any_class) {
        look.proposals->make_anonymous();
    }
    EncodedWords encoded;
    {
        const Account::Step step(account, "text");
        encoded = text.encode(clean.words);
        if (look.proposals) {
            match(look, clean, *state);
        }
    }
    for (const std::string& word : encoded.truncated) {
        state->notes.push_back(text_of("'", word, "' is longer than the model's ", manifest.text.context_length,
                                       " tokens: its end was cut off"));
    }
    if (ask.presence_threshold.value_or(0) > 0 && !graphs.has_gate()) {
        state->notes.emplace_back("presence_threshold has no effect: the bundle has no presence gate");
    }
    const bool boxes_only = zoom && zoom->boxes_only;
    if (boxes_only) {
        take_boxes(look, clean.words.size(), static_cast<float>(manifest.mask.cut()));
        state->logits_height = state->logits_width = 1;
    } else {
        look_for(look, {state->words, encoded, threshold, zoom.value_or(ZoomIn{}), options.memory_mb,
                        options.pairs_per_call},
                 graphs, manifest, account);
        state->logits_height = manifest.mask.height;
        state->logits_width = manifest.mask.width;
    }
    state->take(std::move(look));
    if (graphs.has_gate() && !boxes_only) {
        state->presence_threshold = threshold;
    } else {
        state->presence.clear();
    }
    state->timings = account.take();
    return Result(std::move(state));
}

Segmenter::Segmenter(std::shared_ptr<Model> model) noexcept : model_(std::move(model)) {}
Segmenter::Segmenter(Segmenter&&) noexcept = default;
Segmenter& Segmenter::operator=(Segmenter&&) noexcept = default;
Segmenter::~Segmenter() = default;

Segmenter Segmenter::load(const std::filesystem::path& path, const Options& options) {
    check_options(options);
    const Bundle bundle = Bundle::open(path);
    if (options.backend != "auto") {
        return Segmenter(std::make_shared<Model>(options, bundle, make_backend(options.backend, options.threads)));
    }
    std::vector<std::string> reasons;
    for (const std::string& name : backends()) {
        try {
            auto model = std::make_shared<Model>(options, bundle, make_backend(name, options.threads));
            model->notes = std::move(reasons);
            return Segmenter(std::move(model));
        } catch (const BackendError& error) {
            reasons.push_back(name + ": " + error.what());
        }
    }
    if (reasons.empty()) {
        fail<BackendError>("this build of the library has no engine. Build it again where CMake finds OpenVINO, ONNX "
                           "Runtime or TensorRT");
    }
    fail<BackendError>("no backend works here. ", joined(reasons, "; "));
}

Segmenter Segmenter::share() const {
    return Segmenter(model_);
}

namespace {

/// How to zoom in; none looks at the whole picture.
std::optional<ZoomIn> zoom_of(const Ask& ask) {
    if (!ask.zoom_in && !ask.regions) {
        return std::nullopt;
    }
    const ZoomIn zoom = ask.zoom_in.value_or(ZoomIn{});
    check_zoom(zoom);
    return zoom;
}

}  // namespace

Result Segmenter::operator()(const ImageView& image, std::span<const std::string> words, const Ask& ask) const {
    const CleanWords clean = clean_words(words);
    const std::optional<ZoomIn> zoom = zoom_of(ask);
    (void)threshold_of(ask.presence_threshold, model_->bundle.manifest);
    check_image(image, model_->options.max_pixels);
    Look look;
    look.image = image;
    Account account;
    if (ask.regions) {
        look.proposals = Proposals::of(*ask.regions);
    } else if (zoom) {
        const Detector& detector = model_->detector();
        const Account::Step step(account, "detect");
        look.proposals = detector.find(image);
    }
    return model_->segment(std::move(look), clean, ask, zoom, account);
}

void Segmenter::set_image(const ImageView& image) {
    check_image(image, model_->options.max_pixels);
    const Manifest& manifest = model_->bundle.manifest;
    const std::int64_t side = manifest.image.size;
    Tensor pixels{{1, 3, side, side}, {}};
    pixels.values.resize(count_of(pixels.shape));
    preprocess(image, {0, 0, image.width, image.height}, manifest.image, pixels.values.data());
    auto current = std::make_unique<Current>();
    current->image = image;
    current->arrays = std::make_shared<const Tensors>(model_->graphs.encode(pixels));
    current_ = std::move(current);
}

Result Segmenter::predict(std::span<const std::string> words, const Ask& ask) const {
    if (!current_) {
        fail<OptionError>("there is no picture yet. Call set_image(picture) first");
    }
    const CleanWords clean = clean_words(words);
    const std::optional<ZoomIn> zoom = zoom_of(ask);
    (void)threshold_of(ask.presence_threshold, model_->bundle.manifest);
    Look look;
    look.image = current_->image;
    look.arrays = current_->arrays;
    Account account;
    if (ask.regions) {
        look.proposals = Proposals::of(*ask.regions);
    } else if (zoom) {
        const Detector& detector = model_->detector();
        const Account::Step step(account, "detect");
        look.proposals = current_->proposals(detector);
    }
    return model_->segment(std::move(look), clean, ask, zoom, account);
}

const std::string& Segmenter::model() const noexcept { return model_->name; }
const std::string& Segmenter::backend() const noexcept { return model_->backend_name; }
const std::string& Segmenter::fingerprint() const noexcept { return model_->bundle.fingerprint; }
std::span<const std::string> Segmenter::backend_notes() const noexcept { return model_->notes; }
bool Segmenter::has_detector() const noexcept { return model_->bundle.manifest.detector.has_value(); }

std::pair<int, int> Segmenter::logits_size() const noexcept {
    return {model_->bundle.manifest.mask.height, model_->bundle.manifest.mask.width};
}

}  // namespace clsclip
