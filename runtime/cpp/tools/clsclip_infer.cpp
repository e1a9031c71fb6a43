/// clsclip-infer-cpp: segment images by class names, from C++.
#include <cmath>
#include <cstdio>
#include <iostream>

#include "arguments.hpp"
#include "decoded_image.hpp"
#include "region_file.hpp"
#include "saving.hpp"

namespace {

using namespace clsclip;
using namespace clsclip::tool;

constexpr int kFailure = 1, kWrongUse = 2;

int fail(const std::exception& error, int code) {
    std::cerr << "clsclip-infer-cpp: error: " << error.what() << "\n";
    return code;
}

void print_table(const Result& result, const std::vector<std::filesystem::path>& files) {
    for (const std::string& note : result.notes()) {
        std::cout << "  note: " << note << "\n";
    }
    const double pixels = static_cast<double>(result.width()) * result.height();
    for (std::size_t at = 0; at < result.classes().size(); ++at) {
        const ClassResult one = result[at];
        std::cout << "  " << one.name << ": ";
        char figures[64];
        if (one.status == Status::found) {
            std::snprintf(figures, sizeof figures, "%.2f %%", 100.0 * static_cast<double>(one.area) / pixels);
            std::cout << figures;
        } else {
            std::cout << to_string(one.status) << (one.reason.empty() ? "" : ", " + one.reason);
        }
        if (one.presence) {
            std::snprintf(figures, sizeof figures, "%.2f", static_cast<double>(*one.presence));
            std::cout << " (presence " << figures << ")";
        }
        std::cout << "\n";
    }
    if (!files.empty()) {
        std::cout << "  wrote " << files.size() << " files, such as " << files.back().string() << "\n";
    }
}

void one_image(const Segmenter& segmenter, const std::filesystem::path& path, const Arguments& arguments,
               const std::optional<RegionFile>& regions) {
    const DecodedImage image = read_image(path, arguments.options.limits.max_pixels);
    Request request = arguments.request;
    if (regions) {
        request.regions = regions->of(path);
    }
    if (arguments.zoom_in || arguments.zoom.boxes_as_masks || regions) {
        request.zoom_in = arguments.zoom;
    }
    const Result result = segmenter(image.view(), arguments.classes, request);
    std::vector<std::filesystem::path> files;
    if (arguments.out) {
        files = save(result, image, path, *arguments.out, arguments.formats);
    }
    if (arguments.json) {
        nlohmann::ordered_json document = report_of(result, path);
        if (regions) {
            document["regions"]["source"] = "boxes of " + arguments.regions->filename().string();
        }
        for (const auto& file : files) {
            document["files"].push_back(file.string());
        }
        std::cout << document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << std::endl;
    } else {
        print_table(result, files);
    }
}

int run(const Arguments& arguments) {
    std::optional<RegionFile> regions;
    if (arguments.regions) {
        regions.emplace(*arguments.regions);
    }
    const Segmenter segmenter = Segmenter::load(arguments.model, arguments.options);
    if (!arguments.json) {
        std::cout << segmenter.model() << " on " << segmenter.backend() << "\n";
    }
    int code = 0;
    for (const auto& path : arguments.images) {
        if (!arguments.json) {
            std::cout << path.string() << "\n";
        }
        try {
            one_image(segmenter, path, arguments, regions);
        } catch (const ImageError& error) {  // the next image may be fine
            code = fail(error, kFailure);
            if (arguments.json) {
                const nlohmann::json document{{"source", path.string()}, {"error", error.what()}};
                std::cout << document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
            }
        }
    }
    return code;
}

}  // namespace

int main(int count, char** values) {
    try {
        const Arguments arguments = parse(count, values);
        if (arguments.help) {
            std::cout << help_text();
            return 0;
        }
        if (arguments.version) {
            std::cout << "clsclip-infer-cpp " << version() << "\n";
            return 0;
        }
        return run(arguments);
    } catch (const UsageError& error) {
        std::cerr << "clsclip-infer-cpp: error: " << error.what() << " (see clsclip-infer-cpp --help)\n";
        return kWrongUse;
    } catch (const WordError& error) {
        return fail(error, kWrongUse);
    } catch (const OptionError& error) {
        return fail(error, kWrongUse);
    } catch (const std::exception& error) {
        return fail(error, kFailure);
    }
}
