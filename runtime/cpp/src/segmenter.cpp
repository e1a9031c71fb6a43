#include <algorithm>
#include <cmath>
#include <mutex>
#include <tuple>
#include <utility>

#include "backends/select.hpp"
#include "bundle/bundle.hpp"
#include "clsclip/clsclip.hpp"
#include "detectors/detector.hpp"
#include "errors.hpp"
#include "images/resize.hpp"
#include "inference/domain.hpp"
#include "inference/model.hpp"
#include "inference/refinement.hpp"
#include "inference/scheduler.hpp"
#include "inference/tiles.hpp"
#include "masks/upsampling.hpp"
#include "regions/crops.hpp"
#include "regions/tiles.hpp"
#include "results/result.hpp"
#include "text/encoder.hpp"
#include "text/matching.hpp"
#include "text/words.hpp"

namespace clsclip {

namespace {

void check_options(const Options& options) {
    if (options.threads < 0 || options.threads > kMostThreads) {
        fail<OptionError>("threads must be 0 to ", kMostThreads, ", and it is ", options.threads);
    }
    for (const auto& [name, value] : {std::pair("memory_mb", options.limits.memory_mb),
                                      std::pair("result_mb", options.limits.result_mb)}) {
        if (value < 1 || value > std::size_t{1} << 40) {
            fail<OptionError>(name, " must be 1 or more MiB, and it is ", value);
        }
    }
    if (options.limits.max_pixels < 1) {
        fail<OptionError>("max_pixels must be 1 or more, and it is ", options.limits.max_pixels);
    }
    check_presence(options.presence_filter, std::nullopt, options.max_classes);
    check_detector_options(options);
}

/// Where engines are, told before anything is loaded if they may not be used. OptionError then.
EnginePlace engine_place(const Options& options, const Bundle& bundle) {
    EnginePlace place{options.engines, options.trust_engines};
    if (!place.folder.empty() || place.trusted) {
        if (options.backend != "auto" && options.backend != "tensorrt") {
            fail<OptionError>("engines are TensorRT's, and the backend is '", options.backend, "'. Leave them out");
        }
        (void)place.readable(bundle.fingerprint);
    }
    return place;
}

void check_image(const ImageView& image, std::int64_t max_pixels) {
    const int bytes = bytes_per_pixel(image.format);
    if (image.data == nullptr || image.width < 1 || image.height < 1 || bytes == 0) {
        fail<ImageError>("an image needs pixels, a width and a height of 1 or more and a known format, and this is ",
                         image.width, "x", image.height, image.data == nullptr ? " without pixels" : "");
    }
    if (std::int64_t{image.width} * image.height > max_pixels) {
        fail<ImageError>("the image is ", image.width, "x", image.height, " pixels, and the limit is ", max_pixels,
                         ". Shrink it, or raise max_pixels");
    }
    if (image.stride < std::ptrdiff_t{image.width} * bytes && image.stride > -std::ptrdiff_t{image.width} * bytes) {
        fail<ImageError>("rows of ", image.width, " pixels of ", bytes, " bytes cannot be ", image.stride,
                         " bytes apart. The stride is in bytes: usually width * ", bytes);
    }
}

}  // namespace

/// What is loaded once, whoever shares it.
struct Segmenter::Model {
    Options options;
    Bundle bundle;
    bool filtered;  ///< whether the presence filter is on where a request does not say
    std::unique_ptr<Backend> backend;
    LoadedModel graphs;
    TextEncoder text;
    std::vector<std::string> notes;
    std::string name, backend_name;
    std::mutex detector_mutex;
    std::unique_ptr<const Detector> loaded_detector;

    Model(const Options& given, const Bundle& verified, std::unique_ptr<Backend> chosen)
        : options(given), bundle(verified), filtered(usually_filtered()), backend(std::move(chosen)),
          graphs(bundle, *backend, filtered),
          text(bundle, graphs.text(), options.limits.memory_mb), name(bundle.manifest.name),
          backend_name(backend->name()) {
        bundle.release();
    }

    /// The bundle's detector, which it has, loaded when it is first used.
    const Detector& detector() {
        const std::lock_guard lock(detector_mutex);
        if (!loaded_detector) {
            loaded_detector = std::make_unique<Detector>(bundle, *backend, options);
        }
        return *loaded_detector;
    }

    /// OptionError: what was given to load contradicts itself, or needs presence that the bundle lacks.
    [[nodiscard]] bool usually_filtered() const {
        std::vector<std::string> unused;
        return choose_filter({}, options, bundle.manifest.presence, unused).has_value();
    }

    /// OptionError, WordError.
    [[nodiscard]] CallRequest check(std::span<const std::string> classes, const Request& request) const;
    Result segment(ImageRequest image, CallRequest call, Timings& timings) const;
    /// What the boxes' names are to the classes: for the scheduler, and for the result.
    std::vector<ClassMatch> match(ImageRequest& image, const CallRequest& call) const;
};

/// Everything that is asked of any image, checked once.
CallRequest Segmenter::Model::check(std::span<const std::string> classes, const Request& request) const {
    CallRequest call;
    call.asked = clean_classes(classes, request.prompts);
    call.words = call.asked.words();
    call.class_of_word = call.asked.classes_of_words();
    call.notes = call.asked.notes;
    if (request.zoom_in || request.regions) {
        call.zoom = request.zoom_in.value_or(ZoomIn{});
        check_zoom(*call.zoom);
    }
    call.mask_threshold = request.mask_threshold.value_or(bundle.manifest.mask.threshold);
    if (!(call.mask_threshold >= kLeastThreshold && call.mask_threshold <= 1 - kLeastThreshold)) {
        fail<OptionError>("mask_threshold must be a number from ", kLeastThreshold, " to ", 1 - kLeastThreshold,
                          ", and it is ", call.mask_threshold);
    }
    if (request.min_area < 0) {
        fail<OptionError>("min_area must be a number of pixels, 0 or more, and it is ", request.min_area);
    }
    call.cleaning = {request.min_area, request.largest, request.fill_holes};
    if (request.tiles && request.regions) {
        fail<OptionError>("give regions or tiles, not both: each says where to search");
    }
    const bool lacks_boxes = call.zoom && !request.regions && !request.tiles && !bundle.manifest.detector;
    if (lacks_boxes && (call.zoom->boxes_as_masks || call.zoom->class_agnostic)) {
        fail<OptionError>("boxes_as_masks and class_agnostic need a detector, and the bundle '", name,
                          "' has none. Add one with clsclip-export --detector, or give regions");
    }
    call.filter = choose_filter(request, options, bundle.manifest.presence, call.notes);
    if (request.tiles || lacks_boxes) {
        use_tiles(call, bundle.manifest, request.presence_threshold.has_value());
    }
    call.refine = request.refine;
    return call;
}

/// An image after the image encoder.
struct Segmenter::Current {
    ImageView image;
    std::shared_ptr<const Tensors> features;
    std::mutex mutex;
    std::optional<Proposals> detected;  ///< the detector runs once, whatever is asked of the image

    Proposals proposals(const Detector& detector) {
        const std::lock_guard lock(mutex);
        if (!detected) {
            detected = detector.find(image);
        }
        return *detected;
    }
};

std::vector<ClassMatch> Segmenter::Model::match(ImageRequest& image, const CallRequest& call) const {
    const Proposals& proposals = *image.proposals;
    EncodeWords encode;
    if (const auto& feature = bundle.manifest.text.matching) {
        encode = [&](std::span<const std::string> words) { return text.encode(words).arrays.at(*feature).values; };
    }
    const auto knows = [this](const std::string& word) { return text.knows(word); };
    const bool open = std::find(proposals.classes.begin(), proposals.classes.end(), kAny) != proposals.classes.end();
    std::vector<NameMatch> found = match_words(call.words, proposals.names, encode, knows);
    std::vector<ClassMatch> matches;
    std::size_t first = 0;
    for (std::size_t at = 0; at < call.asked.classes.size(); ++at) {
        const std::string& class_name = call.asked.classes[at];
        const std::vector<std::string>& prompts = call.asked.prompts[at];
        const auto own = std::span(found).subspan(first, prompts.size());
        first += prompts.size();
        if (prompts != std::vector{class_name}) {  // a box that is named as the class is searched for all of its prompts
            const NameMatch label = match_words(std::vector{class_name}, proposals.names, {})[0];
            for (NameMatch& one : own) {
                one = joined_match(std::vector{label, one});
            }
        }
        for (NameMatch& one : own) {
            // A box without a name is searched for words that match none.
            if (open && one.classes.empty()) {
                one.how = "any";
                one.similarity.reset();
            }
            image.matched.push_back(one.classes);
        }
        const NameMatch joined = joined_match(own);
        ClassMatch match{{}, joined.how, joined.similarity};
        for (const int number : joined.classes) {
            match.names.push_back(proposals.names[static_cast<std::size_t>(number)]);
        }
        matches.push_back(std::move(match));
    }
    return matches;
}

Result Segmenter::Model::segment(ImageRequest image, CallRequest call, Timings& timings) const {
    const Manifest& manifest = bundle.manifest;
    auto state = std::make_unique<Result::State>();
    state->classes = call.asked.classes;
    state->prompts = call.asked.prompts;
    state->width = image.image.width;
    state->height = image.image.height;
    state->model = name;
    state->backend = backend_name;
    state->backend_notes = notes;
    state->notes = call.notes;
    if (call.cleaning.any()) {
        state->notes.push_back("masks were cleaned: " + call.cleaning.text());
    }
    if (image.proposals) {
        state->notes.insert(state->notes.end(), image.proposals->notes.begin(), image.proposals->notes.end());
    }
    state->mask_threshold = call.mask_threshold;
    state->cleaning = call.cleaning;
    if (image.proposals && call.zoom->class_agnostic) {
        image.proposals->forget_names();
    }
    EncodedWords encoded;
    {
        const Timings::Step step(timings, "text");
        encoded = text.encode(call.words);
        if (image.proposals) {
            state->matches = match(image, call);
        }
    }
    for (const std::string& word : encoded.truncated) {
        state->notes.push_back(text_of("'", word, "' is longer than the model's ", manifest.text.context_length,
                                       " tokens: its end was cut off"));
    }
    if (image.proposals) {
        const auto& boxes = image.proposals->boxes;
        const int width = image.image.width, height = image.image.height;
        const std::size_t shown = call.zoom->boxes_as_masks ? box_windows(boxes, width, height).size()
                                                            : crop_windows(boxes, width, height, *call.zoom).size();
        if (shown < boxes.size()) {
            state->notes.push_back(text_of("left out ", boxes.size() - shown, " of ", boxes.size(),
                                           " boxes, of which the image shows nothing"));
        }
    }
    if (call.zoom && call.zoom->boxes_as_masks) {
        call.filter.reset();
        state->logits_height = state->logits_width = 1;
    } else {
        state->logits_height = manifest.mask.height;
        state->logits_width = manifest.mask.width;
    }
    if (call.filter) {
        state->presence_threshold = call.filter->threshold;
        state->max_classes = call.filter->max_classes;
    }
    const auto mask_logit = static_cast<float>(logit(call.mask_threshold));
    Findings found = call.zoom && call.zoom->boxes_as_masks
                         ? boxes_as_masks(image, call, mask_logit)
                         : clsclip::segment(image, call, encoded, graphs, manifest, options.limits, timings);
    if (call.refine) {
        const Timings::Step step(timings, "refine");
        std::tie(state->logits_height, state->logits_width) =
            refine(found, image, {state->logits_height, state->logits_width}, mask_logit, options.limits);
    }
    if (found.far) {
        state->notes.push_back(domain_note(*manifest.domain));
    }
    if (manifest.doubt) {
        state->notes.push_back(*manifest.doubt);
    }
    state->take(std::move(found));
    if (call.tiles) {
        const Window whole = image.whole();
        state->region_count = tile_windows(whole.width(), whole.height(), call.tiles->scales, call.tiles->overlap).size();
        state->region_source = kTiles;
    }
    state->timings = timings.take();
    return Result(std::move(state));
}

Segmenter::Segmenter(std::shared_ptr<Model> model) noexcept : model_(std::move(model)) {}
Segmenter::Segmenter(Segmenter&&) noexcept = default;
Segmenter& Segmenter::operator=(Segmenter&&) noexcept = default;
Segmenter::~Segmenter() = default;

Segmenter Segmenter::load(const std::filesystem::path& path, const Options& options) {
    check_options(options);
    const Bundle bundle = Bundle::open(path);
    const EnginePlace place = engine_place(options, bundle);
    std::vector<std::string> reasons;
    const auto loaded = [&](const std::string& name) {
        auto model = std::make_shared<Model>(options, bundle, make_backend(name, options.threads, place));
        model->notes = reasons;
        if (std::string note = engines_passed_over(bundle.folder, place.folder); !note.empty()) {
            model->notes.insert(model->notes.begin(), std::move(note));
        }
        return Segmenter(std::move(model));
    };
    if (options.backend != "auto") {
        return loaded(options.backend);
    }
    for (const std::string& name : backends()) {
        try {
            return loaded(name);
        } catch (const BackendError& error) {
            reasons.push_back(name + ": " + error.what());
        }
    }
    if (reasons.empty()) {
        fail<BackendError>("this build of the library has no backend. Build it again where CMake finds OpenVINO, ONNX "
                           "Runtime or TensorRT");
    }
    fail<BackendError>("no backend works here. ", joined(reasons, "; "));
}

Segmenter Segmenter::share() const {
    return Segmenter(model_);
}

Result Segmenter::operator()(const ImageView& image, std::span<const std::string> classes,
                             const Request& request) const {
    CallRequest call = model_->check(classes, request);
    check_image(image, model_->options.limits.max_pixels);
    ImageRequest one{image, nullptr, std::nullopt, {}};
    Timings timings;
    if (request.regions) {
        one.proposals = Proposals::from_boxes(*request.regions, one.image.width, one.image.height);
    } else if (call.zoom) {
        const Detector& detector = model_->detector();
        const Timings::Step step(timings, "detect");
        one.proposals = detector.find(image);
    }
    return model_->segment(std::move(one), std::move(call), timings);
}

void Segmenter::set_image(const ImageView& image) {
    check_image(image, model_->options.limits.max_pixels);
    const Manifest& manifest = model_->bundle.manifest;
    const std::int64_t side = manifest.image.size;
    Tensor pixels{{1, 3, side, side}, {}};
    pixels.values.resize(count_of(pixels.shape));
    preprocess(image, {0, 0, image.width, image.height}, manifest.image, pixels.values.data());
    auto current = std::make_unique<Current>();
    current->image = image;
    current->features = std::make_shared<const Tensors>(model_->graphs.encode(pixels, model_->filtered));
    current_ = std::move(current);
}

Result Segmenter::predict(std::span<const std::string> classes, const Request& request) const {
    if (!current_) {
        fail<OptionError>("there is no image yet. Call set_image(image) first");
    }
    CallRequest call = model_->check(classes, request);
    // An image that was encoded without presence is encoded again for a call that filters by it.
    const bool fits = !call.filter || model_->graphs.serves_presence(*current_->features);
    ImageRequest one{current_->image, fits ? current_->features : nullptr, std::nullopt, {}};
    Timings timings;
    if (request.regions) {
        one.proposals = Proposals::from_boxes(*request.regions, one.image.width, one.image.height);
    } else if (call.zoom) {
        const Detector& detector = model_->detector();
        const Timings::Step step(timings, "detect");
        one.proposals = current_->proposals(detector);
    }
    return model_->segment(std::move(one), std::move(call), timings);
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
