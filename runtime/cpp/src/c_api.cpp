/// The C API over the C++ one. Nothing leaves a function of it as an exception.
/// Longer than other files: every call of the API is a few lines here.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "clsclip/clsclip.h"
#include "clsclip/clsclip.hpp"
#include "errors.hpp"

struct clsclip_segmenter {
    clsclip::Segmenter segmenter;
};

struct clsclip_result {
    clsclip::Result result;
};

namespace {

using namespace clsclip;

/// What went wrong last in this thread. A fixed buffer: telling that memory ran out takes none.
thread_local char last_error[4096] = "";

clsclip_status remember(clsclip_status status, const char* message) noexcept {
    std::strncpy(last_error, message, sizeof last_error - 1);
    return status;
}

/// Run `action`, and turn what it throws into a status.
template <class Action>
clsclip_status guarded(const Action& action) noexcept {
    try {
        action();
        return CLSCLIP_OK;
    } catch (const BundleError& error) {
        return remember(CLSCLIP_BUNDLE_ERROR, error.what());
    } catch (const ImageError& error) {
        return remember(CLSCLIP_IMAGE_ERROR, error.what());
    } catch (const WordError& error) {
        return remember(CLSCLIP_WORD_ERROR, error.what());
    } catch (const OptionError& error) {
        return remember(CLSCLIP_OPTION_ERROR, error.what());
    } catch (const BackendError& error) {
        return remember(CLSCLIP_BACKEND_ERROR, error.what());
    } catch (const DetectorError& error) {
        return remember(CLSCLIP_DETECTOR_ERROR, error.what());
    } catch (const std::bad_alloc&) {
        return remember(CLSCLIP_NO_MEMORY, "memory ran out. Lower memory_mb, or give a smaller image");
    } catch (const std::exception& error) {
        return remember(CLSCLIP_INTERNAL_ERROR, error.what());
    } catch (...) {
        return remember(CLSCLIP_INTERNAL_ERROR, "something that is no exception was thrown");
    }
}

template <class Value>
const Value& given(const Value* pointer, const char* name) {
    if (pointer == nullptr) {
        fail<OptionError>(name, " is NULL");
    }
    return *pointer;
}

template <class Value>
void give(Value** place, const char* name, Value&& value) {
    if (place == nullptr) {
        fail<OptionError>("there is no place for the ", name, ": its pointer is NULL");
    }
    *place = new Value(std::move(value));
}

/// A switch that may be left open: negative is none.
std::optional<bool> switch_of(std::int32_t value) {
    return value < 0 ? std::nullopt : std::optional(value != 0);
}

std::optional<int> most_of(std::int32_t value) {
    return value == 0 ? std::nullopt : std::optional(value);
}

void set_defaults(clsclip_options& options) {
    const Options defaults;
    const Limits& limits = defaults.limits;
    options = {sizeof options, "auto", 0, limits.memory_mb, 0, limits.result_mb, limits.max_pixels, -1, 0,
               defaults.detector_confidence, defaults.detector_iou, defaults.max_detections, nullptr, 0};
}

void set_defaults(clsclip_request& request) {
    const ZoomIn zoom;
    request = {sizeof request, -1.0, -1, 0, 0, nullptr, 0, zoom.crop_margin, zoom.min_crop_size, CLSCLIP_WHOLE_IMAGE,
               0, 0, zoom.mask_threshold, zoom.mask_margin.value_or(-1), nullptr, 0, -1.0, 0, 0, 0, 0, 0};
}

/// Defaults, and over them the members that the caller's version of a struct has.
template <class Struct>
Struct known_members(const Struct* theirs, const char* name) {
    Struct ours;
    set_defaults(ours);
    if (theirs == nullptr) {
        return ours;
    }
    if (theirs->size < sizeof(std::size_t) || theirs->size > 65536) {
        fail<OptionError>("the size of ", name, " is ", theirs->size, ". Fill it with ", name, "_init() first");
    }
    std::memcpy(&ours, theirs, std::min(theirs->size, sizeof(Struct)));
    return ours;
}

/// Fill the part of a struct that the caller's version has.
template <class Struct>
void init(Struct* theirs, std::size_t size) noexcept {
    if (theirs != nullptr && size >= sizeof(std::size_t)) {
        Struct ours;
        set_defaults(ours);
        ours.size = size;
        std::memcpy(theirs, &ours, std::min(size, sizeof ours));
    }
}

Options options_of(const clsclip_options* given_options) {
    const clsclip_options own = known_members(given_options, "clsclip_options");
    Options options;
    options.backend = own.backend == nullptr ? "auto" : own.backend;
    options.threads = own.threads;
    options.limits = {own.memory_mb, own.pairs_per_call, own.result_mb, own.max_pixels};
    options.presence_filter = switch_of(own.presence_filter);
    options.max_classes = most_of(own.max_classes);
    options.detector_confidence = own.detector_confidence;
    options.detector_iou = own.detector_iou;
    options.max_detections = own.max_detections;
    options.engines = own.engines == nullptr ? "" : own.engines;
    options.trust_engines = own.trust_engines != 0;
    return options;
}

ImageView view_of(const clsclip_image* image) {
    const clsclip_image& own = given(image, "the image");
    if (own.format < CLSCLIP_RGB || own.format > CLSCLIP_GRAY) {
        fail<ImageError>("there is no pixel format number ", own.format, ". See clsclip_pixel_format");
    }
    return {own.data, own.width, own.height, own.stride, static_cast<PixelFormat>(own.format)};
}

std::vector<std::string> classes_of(const char* const* classes, std::size_t count) {
    if (classes == nullptr && count > 0) {
        fail<OptionError>("the classes are NULL");
    }
    std::vector<std::string> own;
    for (std::size_t at = 0; at < count; ++at) {
        own.emplace_back(&given(classes[at], "a class"));
    }
    return own;
}

Request request_of(const clsclip_request* given_request) {
    const clsclip_request own = known_members(given_request, "clsclip_request");
    Request request;
    if (!(own.presence_threshold < 0)) {  // NaN is refused by whoever reads it
        request.presence_threshold = own.presence_threshold;
    }
    request.presence_filter = switch_of(own.presence_filter);
    request.max_classes = most_of(own.max_classes);
    if (!(own.pixel_threshold < 0)) {
        request.mask_threshold = own.pixel_threshold;
    }
    request.min_area = own.min_area;
    request.largest = own.largest != 0;
    request.fill_holes = own.fill_holes != 0;
    if (own.boxes != nullptr) {
        request.regions.emplace();
        for (std::size_t at = 0; at < own.box_count; ++at) {
            const clsclip_box& box = own.boxes[at];
            request.regions->push_back(
                {{box.left, box.top, box.right, box.bottom}, box.name == nullptr ? "" : box.name, box.score});
        }
    }
    for (std::size_t at = 0; own.prompts != nullptr && at < own.prompts_count; ++at) {
        const clsclip_prompts& one = own.prompts[at];
        request.prompts[&given(one.name, "the name of a class")] = classes_of(one.words, one.word_count);
    }
    request.tiles = own.tiles != 0;
    request.refine = own.refine != 0;
    if (own.zoom_in != 0 || own.boxes != nullptr) {
        if (own.fallback != CLSCLIP_WHOLE_IMAGE && own.fallback != CLSCLIP_NONE) {
            fail<OptionError>("there is no fallback number ", own.fallback, ". See clsclip_fallback");
        }
        request.zoom_in = ZoomIn{own.crop_margin, own.min_crop_size,
                                 own.fallback == CLSCLIP_NONE ? Fallback::none : Fallback::whole_image,
                                 own.boxes_as_masks != 0, own.class_agnostic != 0, own.mask_threshold,
                                 own.mask_margin < 0 ? std::nullopt : std::optional(own.mask_margin)};
    }
    return request;
}

/// A question about a result that cannot fail but for a wrong handle or number.
template <class Value, class Action>
Value answer(Value otherwise, const clsclip_result* result, const Action& action) noexcept {
    Value value = otherwise;
    if (result == nullptr) {
        remember(CLSCLIP_OPTION_ERROR, "the result is NULL");
        return otherwise;
    }
    guarded([&] { value = action(result->result); });
    return value;
}

template <class Values>
const char* text_at(const Values& values, std::size_t at) {
    return at < values.size() ? values[at].c_str() : nullptr;
}

}  // namespace

extern "C" {

uint32_t clsclip_api_version(void) { return CLSCLIP_API_VERSION; }

const char* clsclip_version(void) { return version().data(); }

const char* clsclip_last_error(void) { return last_error; }

size_t clsclip_backend_count(void) {
    std::size_t count = 0;
    guarded([&] { count = backends().size(); });
    return count;
}

const char* clsclip_backend_name(size_t at) {
    static const std::vector<std::string> names = backends();
    return text_at(names, at);
}

void clsclip_options_init(clsclip_options* options, size_t size) { init(options, size); }

void clsclip_request_init(clsclip_request* request, size_t size) { init(request, size); }

clsclip_status clsclip_load(const char* bundle, const clsclip_options* options, clsclip_segmenter** segmenter) {
    return guarded([&] {
        const std::filesystem::path path(&given(bundle, "the bundle's path"));
        give(segmenter, "segmenter", clsclip_segmenter{Segmenter::load(path, options_of(options))});
    });
}

clsclip_status clsclip_share(const clsclip_segmenter* segmenter, clsclip_segmenter** shared) {
    return guarded([&] {
        give(shared, "segmenter", clsclip_segmenter{given(segmenter, "the segmenter").segmenter.share()});
    });
}

void clsclip_segmenter_free(clsclip_segmenter* segmenter) { delete segmenter; }

const char* clsclip_segmenter_model(const clsclip_segmenter* segmenter) {
    return segmenter == nullptr ? nullptr : segmenter->segmenter.model().c_str();
}

const char* clsclip_segmenter_backend(const clsclip_segmenter* segmenter) {
    return segmenter == nullptr ? nullptr : segmenter->segmenter.backend().c_str();
}

clsclip_status clsclip_segment(const clsclip_segmenter* segmenter, const clsclip_image* image,
                               const char* const* classes, size_t class_count, const clsclip_request* request,
                               clsclip_result** result) {
    return guarded([&] {
        const Segmenter& own = given(segmenter, "the segmenter").segmenter;
        give(result, "result", clsclip_result{own(view_of(image), classes_of(classes, class_count), request_of(request))});
    });
}

clsclip_status clsclip_set_image(clsclip_segmenter* segmenter, const clsclip_image* image) {
    return guarded([&] {
        (void)given(segmenter, "the segmenter");
        segmenter->segmenter.set_image(view_of(image));
    });
}

clsclip_status clsclip_predict(const clsclip_segmenter* segmenter, const char* const* classes, size_t class_count,
                               const clsclip_request* request, clsclip_result** result) {
    return guarded([&] {
        const Segmenter& own = given(segmenter, "the segmenter").segmenter;
        give(result, "result", clsclip_result{own.predict(classes_of(classes, class_count), request_of(request))});
    });
}

void clsclip_result_free(clsclip_result* result) { delete result; }

int32_t clsclip_result_width(const clsclip_result* result) {
    return answer(0, result, [](const Result& own) { return own.width(); });
}

int32_t clsclip_result_height(const clsclip_result* result) {
    return answer(0, result, [](const Result& own) { return own.height(); });
}

size_t clsclip_result_class_count(const clsclip_result* result) {
    return answer(std::size_t{0}, result, [](const Result& own) { return own.classes().size(); });
}

const char* clsclip_result_class_name(const clsclip_result* result, size_t at) {
    return answer<const char*>(nullptr, result, [=](const Result& own) { return text_at(own.classes(), at); });
}

int32_t clsclip_result_status(const clsclip_result* result, size_t at) {
    return answer(-1, result, [=](const Result& own) { return static_cast<int>(own.status(at)); });
}

const char* clsclip_result_reason(const clsclip_result* result, size_t at) {
    return answer<const char*>(nullptr, result, [=](const Result& own) { return own.reason(at).c_str(); });
}

float clsclip_result_presence(const clsclip_result* result, size_t at) {
    constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();
    return answer(kUnknown, result, [=](const Result& own) { return own.presence(at).value_or(kUnknown); });
}

int32_t clsclip_result_searched(const clsclip_result* result, size_t at) {
    return answer(-1, result, [=](const Result& own) {
        int places = 0;
        for (const std::string_view place : own.searched(at)) {
            places |= place == "regions"       ? CLSCLIP_IN_REGIONS
                      : place == "whole-image" ? CLSCLIP_IN_WHOLE_IMAGE
                                               : CLSCLIP_IN_TILES;
        }
        return places;
    });
}

clsclip_status clsclip_result_mask(const clsclip_result* result, size_t at, uint8_t* pixels, ptrdiff_t stride) {
    return guarded([&] { given(result, "the result").result.mask_to(at, pixels, stride); });
}

clsclip_status clsclip_result_area(const clsclip_result* result, size_t at, int64_t* area) {
    return guarded([&] {
        (void)given(area, "the place for the area");
        *area = given(result, "the result").result.area(at);
    });
}

clsclip_status clsclip_result_rle(const clsclip_result* result, size_t at, char* counts, size_t capacity,
                                  size_t* needed) {
    return guarded([&] {
        const RleMask rle = given(result, "the result").result.rle(at);
        if (needed != nullptr) {
            *needed = rle.counts.size() + 1;
        }
        if (counts == nullptr || capacity < rle.counts.size() + 1) {
            fail<OptionError>("the counts take ", rle.counts.size() + 1, " bytes, and there is room for ",
                              counts == nullptr ? 0 : capacity);
        }
        std::memcpy(counts, rle.counts.c_str(), rle.counts.size() + 1);
    });
}

size_t clsclip_result_instance_count(const clsclip_result* result) {
    return answer(std::size_t{0}, result, [](const Result& own) { return own.instances().size(); });
}

clsclip_status clsclip_result_instance(const clsclip_result* result, size_t at, clsclip_instance* instance) {
    return guarded([&] {
        const std::size_t size = given(instance, "the place for the instance").size;
        if (size < sizeof(std::size_t) || size > 65536) {
            fail<OptionError>("the size of clsclip_instance is ", size, ". Set it to sizeof(clsclip_instance) first");
        }
        const auto instances = given(result, "the result").result.instances();
        if (at >= instances.size()) {
            fail<OptionError>("there is no instance number ", at, ": there are ", instances.size(), ", counted from 0");
        }
        const Instance& own = instances[at];
        const float unknown = std::numeric_limits<float>::quiet_NaN();
        const clsclip_instance filled{size, own.class_index, own.box.left, own.box.top, own.box.right, own.box.bottom,
                                      own.window.left, own.window.top, own.window.right, own.window.bottom, own.score,
                                      own.presence.value_or(unknown), own.whole_image ? 1 : 0,
                                      own.name ? own.name->c_str() : nullptr};
        std::memcpy(instance, &filled, std::min(size, sizeof filled));
    });
}

clsclip_status clsclip_result_instance_mask(const clsclip_result* result, size_t at, uint8_t* pixels,
                                            ptrdiff_t stride) {
    return guarded([&] {
        const Mask mask = given(result, "the result").result.instance_mask(at);
        if (pixels == nullptr || (stride < mask.width && stride > -std::ptrdiff_t{mask.width})) {
            fail<OptionError>("a mask of ", mask.width, "x", mask.height, " pixels needs rows of ", mask.width,
                              " bytes or more, and the stride is ", stride);
        }
        for (int y = 0; y < mask.height; ++y) {
            const auto row = mask.row(y);
            std::copy(row.begin(), row.end(), pixels + y * stride);
        }
    });
}

size_t clsclip_result_note_count(const clsclip_result* result) {
    return answer(std::size_t{0}, result, [](const Result& own) { return own.notes().size(); });
}

const char* clsclip_result_note(const clsclip_result* result, size_t at) {
    return answer<const char*>(nullptr, result, [=](const Result& own) { return text_at(own.notes(), at); });
}

size_t clsclip_result_timing_count(const clsclip_result* result) {
    return answer(std::size_t{0}, result, [](const Result& own) { return own.timings().size(); });
}

const char* clsclip_result_timing_step(const clsclip_result* result, size_t at) {
    return answer<const char*>(nullptr, result, [=](const Result& own) {
        return at < own.timings().size() ? own.timings()[at].step.c_str() : nullptr;
    });
}

double clsclip_result_timing_ms(const clsclip_result* result, size_t at) {
    return answer(0.0, result, [=](const Result& own) {
        return at < own.timings().size() ? own.timings()[at].milliseconds : 0.0;
    });
}

}  // extern "C"
