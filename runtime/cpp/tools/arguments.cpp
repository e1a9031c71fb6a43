#include "arguments.hpp"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <sstream>

#include "saving.hpp"

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
    if (arguments.pictures.empty()) {
        throw UsageError("no PICTURE was given. Words run until the next option, so put pictures before --classes");
    }
    if (arguments.words.empty()) {
        throw UsageError("no words were given. Add them: --classes bottle boat");
    }
    if (arguments.bundle.empty()) {
        throw UsageError("no bundle was given. Add it: --bundle model.clsclip, or set CLSCLIP_BUNDLE");
    }
    if (!std::filesystem::is_directory(arguments.bundle)) {
        throw UsageError("no such bundle: " + arguments.bundle.string() + ". Give the folder that clsclip-export wrote");
    }
}

}  // namespace

Arguments parse(int count, const char* const* values) {
    Arguments parsed;
    if (const char* bundle = std::getenv("CLSCLIP_BUNDLE")) {
        parsed.bundle = bundle;
    }
    using Text = const std::string&;
    const std::map<std::string, std::function<void(Text)>> with_value{
        {"--bundle", [&](Text text) { parsed.bundle = text; }},
        {"--out", [&](Text text) { parsed.out = text; }},
        {"--formats", [&](Text text) { parsed.formats = formats_of(text); }},
        {"--regions", [&](Text text) { parsed.regions = text; }},
        {"--backend", [&](Text text) { parsed.options.backend = text; }},
        {"--threads", [&](Text text) { parsed.options.threads = whole("--threads", text, 1, 4096); }},
        {"--memory-mb",
         [&](Text text) { parsed.options.memory_mb = static_cast<std::size_t>(whole("--memory-mb", text, 1, 1 << 30)); }},
        {"--presence-threshold",
         [&](Text text) { parsed.presence_threshold = number("--presence-threshold", text, 0, 1); }},
        {"--margin", [&](Text text) { parsed.zoom.margin = number("--margin", text, 0, 10); }},
        {"--odds", [&](Text text) { parsed.zoom.odds = number("--odds", text, 1e-3, 1e3); }},
        {"--spill", [&](Text text) { parsed.zoom.spill = number("--spill", text, 0, 10); }},
        {"--on-missing",
         [&](Text text) {
             if (text != "whole-image" && text != "empty") {
                 throw UsageError("--on-missing must be whole-image or empty, and it is '" + text + "'");
             }
             parsed.zoom.on_missing = text == "empty" ? OnMissing::empty : OnMissing::whole_image;
         }},
    };
    const std::map<std::string, bool*> flags{{"--zoom-in", &parsed.zoom_in},
                                             {"--boxes-only", &parsed.zoom.boxes_only},
                                             {"--any-class", &parsed.zoom.any_class},
                                             {"--json", &parsed.json},
                                             {"--help", &parsed.help},
                                             {"-h", &parsed.help},
                                             {"--version", &parsed.version}};
    bool words = false, all_pictures = false;
    for (int at = 1; at < count; ++at) {
        const std::string one = values[at];
        const bool is_option = !all_pictures && one.size() > 1 && one[0] == '-';
        if (!is_option && words) {
            parsed.words.push_back(one);
            continue;
        }
        if (!is_option) {
            parsed.pictures.emplace_back(one);
            continue;
        }
        words = one == "--classes";
        if (words) {
            continue;
        }
        if (one == "--") {
            all_pictures = true;  // whatever they begin with
        } else if (const auto flag = flags.find(one); flag != flags.end()) {
            *flag->second = true;
        } else if (const auto option = with_value.find(one); option == with_value.end()) {
            throw UsageError("there is no option " + one);
        } else if (++at == count) {
            throw UsageError(one + " needs a value");
        } else {
            option->second(values[at]);
        }
    }
    if (!parsed.help && !parsed.version) {
        check(parsed);
    }
    if (!parsed.out && !parsed.json) {
        parsed.out = "clsclip-out";
    }
    return parsed;
}

const char* help_text() {
    return R"(Usage: clsclip-infer-cpp PICTURE... --classes WORD... --bundle DIR [OPTIONS]

Segment the things that words name, in JPEG and PNG pictures. A word that is not in a picture is
reported absent and gets an empty mask.

  --classes WORD...           Words to find, until the next option.
  --bundle DIR                The model. Default: the environment variable CLSCLIP_BUNDLE.
  --out DIR                   Where files go. Default: clsclip-out; with --json none are written
                              unless it is given.
  --formats LIST              Of png (a mask per word), overlay, coco; commas between. Default: png,overlay.
  --presence-threshold 0..1   Words scoring below are absent; 0 segments every word.
  --zoom-in                   Look at the regions that the bundle's detector finds.
  --regions FILE              JSON with boxes in place of the detector's.
  --margin 0..10              Context around a region, as a share of its size. Default: 0.1.
  --odds 0.001..1000          How many times likelier, as odds, a pixel near a box of its word's name
                              is of the word. Default: 4.
  --spill 0..10               How far masks of such boxes may reach beyond them, as a share of their
                              size. Default: 0.03.
  --on-missing KIND           whole-image or empty: what becomes of a word without a region.
  --boxes-only                Take the boxes themselves as masks.
  --any-class                 Forget what boxes are called, and ask every word of each.
  --json                      One JSON document per picture, a line each.
  --backend NAME              Engine; auto takes the first that works.
  --threads N                 Threads of the engine.
  --memory-mb N               Bound on the activations of one call, MiB. Default: 1024.
  --version, -h, --help

Exit codes: 0 all done, 1 a failure (the other pictures are done), 2 wrong use.
)";
}

}  // namespace clsclip::tool
