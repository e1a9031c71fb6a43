#include "arguments.hpp"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <sstream>
#include <system_error>
#include <utility>

#include "clsclip_data.hpp"
#include "saving.hpp"
#include "typed_words.hpp"

namespace clsclip::tool {

namespace {

double number(const std::string& option, const std::string& text, double low, double high) {
    std::istringstream in(text);
    in.imbue(std::locale::classic());
    double value = 0;
    if (!(in >> value) || !in.eof() || !(value >= low && value <= high)) {
        std::ostringstream message;
        message << option << " must be a number from " << low << " to " << high << ", and it is '" << text << "'";
        throw UsageError(message.str());
    }
    return value;
}

int whole(const std::string& option, const std::string& text, int low, int high) {
    const double value = number(option, text, low, high);
    if (value != static_cast<int>(value)) {
        throw UsageError(option + " must be a whole number, and it is '" + text + "'");
    }
    return static_cast<int>(value);
}

std::vector<std::string> formats_of(const std::string& text) {
    std::vector<std::string> found;
    std::istringstream in(text);
    for (std::string one; std::getline(in, one, ',');) {
        const auto& known = known_formats();
        if (std::find(known.begin(), known.end(), one) == known.end()) {
            throw UsageError("there is no format '" + one + "'. Choose from: png, overlay, coco");
        }
        if (std::find(found.begin(), found.end(), one) == found.end()) {
            found.push_back(one);
        }
    }
    if (found.empty()) {
        throw UsageError("no format was given. Choose from: png, overlay, coco");
    }
    return found;
}

void check(const Arguments& arguments) {
    if (arguments.images.empty()) {
        throw UsageError("no IMAGE was given. Words run until the next option, so put images before --classes");
    }
    if (arguments.classes.empty()) {
        throw UsageError("no words were given. Add them: --classes bottle boat");
    }
    if (arguments.model.empty()) {
        throw UsageError("no bundle was given. Add it: --model model.clsclip, or set CLSCLIP_BUNDLE");
    }
    std::error_code ignored;  // of paths that may not be looked at
    if (!std::filesystem::is_directory(arguments.model, ignored)) {
        throw UsageError("no such bundle: " + arguments.model.string() + ". Give the folder that clsclip-export wrote");
    }
}

/// UsageError: an option would have no effect.
void check_regions(const Arguments& arguments) {
    const std::set<std::string>& given = arguments.about_regions;
    const bool tiles = arguments.request.tiles;
    const bool zooms = arguments.zoom_in || arguments.regions || tiles || arguments.zoom.boxes_as_masks;
    if (!zooms && !given.empty()) {
        throw UsageError(*given.begin() + " is about regions. Add --zoom-in or --regions");
    }
    if ((arguments.regions || tiles) && given.contains("--confidence")) {
        throw UsageError("--confidence is about a detector's boxes, and --regions takes the place of one");
    }
    for (const char* option : {"--crop-margin", "--region-threshold", "--mask-margin", "--fallback"}) {
        if (arguments.zoom.boxes_as_masks && given.contains(option)) {
            throw UsageError(std::string(option) + " is about crops, and --boxes-as-masks makes none");
        }
    }
    if (tiles && (!given.empty() || arguments.zoom.boxes_as_masks)) {
        const std::string first = given.empty() ? "--boxes-as-masks" : *given.begin();
        throw UsageError(first + " is about boxes, and tiles are not boxes of things");
    }
    const bool filters = arguments.request.presence_filter || arguments.request.presence_threshold ||
                         arguments.request.max_classes;
    if (arguments.zoom.boxes_as_masks && filters) {
        throw UsageError("presence is about crops, and --boxes-as-masks makes none");
    }
}

/// What is wrong with an option that does not exist: a name of 0.1, one of the Python command, or any other.
std::string unknown_option(const std::string& option) {
    using Json = nlohmann::json;
    const Json renamed = Json::parse(kRenamedJson).at("options");
    if (renamed.contains(option)) {
        return option + " is gone since 0.2. Use " + renamed.at(option).get<std::string>();
    }
    const Json python = Json::parse(kPythonOnlyJson).at("options");
    if (std::find(python.begin(), python.end(), option) != python.end()) {
        return option + " is an option of clsclip-infer, the Python command, alone";
    }
    return "there is no option " + option;
}

Fallback fallback_of(const std::string& text) {
    if (text != "whole-image" && text != "none") {
        throw UsageError("--fallback must be whole-image or none, and it is '" + text + "'");
    }
    return text == "none" ? Fallback::none : Fallback::whole_image;
}

}  // namespace

Arguments parse(int count, const char* const* values) {
    Arguments parsed;
    if (const char* bundle = std::getenv("CLSCLIP_BUNDLE")) {
        parsed.model = bundle;
    }
    using Text = const std::string&;
    const auto model = [&](Text text) { parsed.model = text; };
    const auto filter = [&](bool on) { return [&parsed, on] { parsed.request.presence_filter = on; }; };
    const std::map<std::string, std::function<void(Text)>> with_value{
        {"--model", model},
        {"--bundle", model},
        {"--out", [&](Text text) { parsed.out = text; }},
        {"--formats", [&](Text text) { parsed.formats = formats_of(text); }},
        {"--regions",
         [&](Text text) {
             parsed.request.tiles = text == "tiles";
             parsed.regions = parsed.request.tiles ? std::nullopt : std::optional(std::filesystem::path(text));
         }},
        {"--backend", [&](Text text) { parsed.options.backend = text; }},
        {"--threads", [&](Text text) { parsed.options.threads = whole("--threads", text, 1, kMostThreads); }},
        {"--engines", [&](Text text) { parsed.options.engines = text; }},
        {"--memory-mb",
         [&](Text text) {
             parsed.options.limits.memory_mb = static_cast<std::size_t>(whole("--memory-mb", text, 1, 1 << 30));
         }},
        {"--max-pixels",
         [&](Text text) { parsed.options.limits.max_pixels = whole("--max-pixels", text, 1, 2'147'483'647); }},
        {"--presence-threshold",
         [&](Text text) { parsed.request.presence_threshold = number("--presence-threshold", text, 0, 1); }},
        {"--mask-threshold",
         [&](Text text) { parsed.request.mask_threshold = number("--mask-threshold", text, 1e-6, 1 - 1e-6); }},
        {"--min-area", [&](Text text) { parsed.request.min_area = whole("--min-area", text, 0, 2'147'483'647); }},
        {"--max-classes", [&](Text text) { parsed.request.max_classes = whole("--max-classes", text, 1, 1 << 30); }},
        {"--confidence", [&](Text text) { parsed.options.detector_confidence = number("--confidence", text, 0, 1); }},
        {"--crop-margin", [&](Text text) { parsed.zoom.crop_margin = number("--crop-margin", text, 0, 10); }},
        {"--region-threshold",
         [&](Text text) { parsed.zoom.mask_threshold = number("--region-threshold", text, 1e-6, 1 - 1e-6); }},
        {"--mask-margin", [&](Text text) { parsed.zoom.mask_margin = number("--mask-margin", text, 0, 10); }},
        {"--fallback", [&](Text text) { parsed.zoom.fallback = fallback_of(text); }},
    };
    const std::map<std::string, std::function<void()>> flags{
        {"--zoom-in", [&] { parsed.zoom_in = true; }},
        {"--refine", [&] { parsed.request.refine = true; }},
        {"--boxes-as-masks", [&] { parsed.zoom.boxes_as_masks = true; }},
        {"--class-agnostic", [&] { parsed.zoom.class_agnostic = true; }},
        {"--trust-engines", [&] { parsed.options.trust_engines = true; }},
        {"--presence-filter", filter(true)},
        {"--no-presence-filter", filter(false)},
        {"--largest", [&] { parsed.request.largest = true; }},
        {"--fill-holes", [&] { parsed.request.fill_holes = true; }},
        {"--json", [&] { parsed.json = true; }},
        {"--help", [&] { parsed.help = true; }},
        {"-h", [&] { parsed.help = true; }},
        {"--version", [&] { parsed.version = true; }}};
    bool classes = false, all_images = false;
    for (int at = 1; at < count; ++at) {
        const std::string one = values[at];
        const bool is_option = !all_images && one.size() > 1 && one[0] == '-';
        if (!is_option && classes) {
            parsed.classes.push_back(one);
            continue;
        }
        if (!is_option) {
            parsed.images.emplace_back(one);
            continue;
        }
        classes = one == "--classes";
        if (classes) {
            continue;
        }
        static const std::set<std::string> about_regions{"--confidence",  "--crop-margin", "--region-threshold",
                                                         "--mask-margin", "--fallback",    "--class-agnostic"};
        if (about_regions.contains(one)) {
            parsed.about_regions.insert(one);
        }
        if (one == "--") {
            all_images = true;  // whatever they begin with
        } else if (const auto flag = flags.find(one); flag != flags.end()) {
            flag->second();
        } else if (const auto option = with_value.find(one); option == with_value.end()) {
            throw UsageError(unknown_option(one));
        } else if (++at == count) {
            throw UsageError(one + " needs a value");
        } else {
            option->second(values[at]);
        }
    }
    TypedWords typed = typed_words(parsed.classes);
    parsed.classes = std::move(typed.classes);
    parsed.request.prompts = std::move(typed.prompts);
    parsed.notes = std::move(typed.notes);
    if (!parsed.help && !parsed.version) {
        check(parsed);
        check_regions(parsed);
    }
    if (!parsed.out && !parsed.json) {
        parsed.out = "clsclip-out";
    }
    return parsed;
}

const char* help_text() {
    return R"(Usage: clsclip-infer-cpp IMAGE... --classes WORD... --model DIR [OPTIONS]

Segment classes in JPEG and PNG images. A class that is not in an image is
reported absent and gets an empty mask.

  --classes WORD...          Classes to segment, until the next option. A comma
                             separates classes; "helmet = safety helmet | hard
                             hat" is one class of two prompts.
  --model DIR, --bundle DIR  The bundle. Default: the environment variable
                             CLSCLIP_BUNDLE.
  --out DIR                  Where files go. Default: clsclip-out; with --json
                             none are written unless it is given.
  --formats LIST             Of png (a mask per class), overlay, coco (one file
                             of all images); commas between. Default:
                             png,overlay.
  --presence-threshold 0..1  Classes scoring below are absent; 0 segments every
                             class.
  --presence-filter          Segment only the classes that an image shows.
                             Default: on where the model's threshold was
                             trained.
  --no-presence-filter       Segment every class.
  --max-classes N            Segment at most the N likeliest classes of an
                             image or region.
  --mask-threshold 0..1      Probability that a pixel must exceed to belong to
                             a class. Default: the model's own.
  --min-area N               Leave out connected parts of masks with fewer
                             pixels.
  --largest                  Keep the largest connected part of every mask
                             alone.
  --fill-holes               Make holes of masks part of them.
  --zoom-in                  Segment the regions that the bundle's detector
                             finds; tiles where it has none.
  --regions FILE|tiles       JSON with boxes in place of the detector's; or
                             tiles: overlapping parts of the whole image. A
                             file of that name is ./tiles.
  --refine                   Give masks the edges of the image.
  --confidence 0..1          Least score of the detector's boxes. Default:
                             0.25.
  --crop-margin SHARE        Context around a region, of its width and height.
                             Default: 0.1.
  --region-threshold P       In regions named as the class: the probability
                             that a pixel must exceed. Default: 0.2.
  --mask-margin SHARE        How far masks reach beyond such regions, of their
                             size. Default: 0.03.
  --fallback KIND            whole-image or none: what a class without a region
                             gets.
  --boxes-as-masks           Take the boxes themselves as masks.
  --class-agnostic           Ignore the boxes' names: search every box for
                             every class.
  --json                     One JSON document per image, a line each.
  --backend NAME             What runs the model. Default: auto, the first that
                             works.
  --threads N                Threads of the backend.
  --engines DIR              Folder of TensorRT engines. Default: the user's
                             cache.
  --trust-engines            Load engines of --engines that others built: they
                             are machine code.
  --memory-mb N              Most memory for the activations of one call, MiB.
                             Default: 1024.
  --max-pixels N             Refuse larger images. Default: 200000000.
  --version, -h, --help

Examples:
  clsclip-infer-cpp photo.jpg --classes bottle boat --model model.clsclip
  clsclip-infer-cpp a.jpg b.png --classes dog --model model.clsclip --json

Exit codes: 0 all done, 1 a failure (the other images are done), 2 wrong use.
)";
}

}  // namespace clsclip::tool
