/// clsclip-infer-cpp: segment images by class names, from C++.
#include <csignal>
#include <cstdio>
#include <optional>
#include <string_view>

#include "arguments.hpp"
#include "decoded_image.hpp"
#include "names.hpp"
#include "printing.hpp"
#include "region_file.hpp"
#include "saving.hpp"
#include "writing.hpp"

namespace {

using namespace clsclip;
using namespace clsclip::tool;

constexpr int kFailure = 1, kWrongUse = 2;
constexpr const char* kTogether = "coco.json";

int fail(const std::string& message, int code) {
    print_error("clsclip-infer-cpp: error: " + message);
    return code;
}

void print_table(const Result& result, const std::vector<std::filesystem::path>& files) {
    for (const std::string& note : result.notes()) {
        print_line("  note: " + note);
    }
    const double pixels = static_cast<double>(result.width()) * result.height();
    for (std::size_t at = 0; at < result.classes().size(); ++at) {
        const ClassResult one = result[at];
        std::string line = "  " + one.name + ": ";
        char figures[64];
        if (one.status == Status::found) {
            std::snprintf(figures, sizeof figures, "%.2f %%", 100.0 * static_cast<double>(one.area) / pixels);
            line += figures;
        } else {
            line += std::string(to_string(one.status)) + (one.reason.empty() ? "" : ", " + one.reason);
        }
        if (one.presence) {
            std::snprintf(figures, sizeof figures, " (presence %.2f)", static_cast<double>(*one.presence));
            line += figures;
        }
        print_line(line);
    }
    if (!files.empty()) {
        print_line("  wrote " + std::to_string(files.size()) + " files, such as " + files.back().string());
    }
}

/// One document on a line of its own, in ASCII, so that no terminal obeys what a name holds.
void print_json(const nlohmann::ordered_json& document) {
    print_line(document.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace));
}

/// All pictures of a command line through one model.
class Run {
public:
    explicit Run(const Arguments& arguments) : arguments_(arguments), sources_(named_sources(arguments.images)) {
        if (arguments.regions) {
            regions_.emplace(*arguments.regions);
        }
        if (arguments.images.size() > 1 && std::erase(formats_, "coco") > 0) {
            all_.emplace();
        }
        if (arguments.out) {
            prepare(*arguments.out);
        }
    }

    /// Segment every picture; the exit code.
    [[nodiscard]] int all() {
        const Segmenter segmenter = Segmenter::load(arguments_.model, arguments_.options);
        if (arguments_.zoom_in && !regions_ && !segmenter.has_detector() &&
            arguments_.about_regions.contains("--confidence")) {
            throw UsageError("--confidence is about a detector's boxes, and the model has no detector");
        }
        if (!arguments_.json) {
            print_line(segmenter.model() + " on " + segmenter.backend());
            for (const std::string& note : segmenter.backend_notes()) {
                print_line("note: " + note);
            }
            for (const std::string& note : arguments_.notes) {
                print_line("note: " + note);
            }
        }
        int code = 0;
        try {
            code = each(segmenter);
        } catch (...) {  // what is done is kept
            try {
                finish();
            } catch (const OutputError& error) {
                fail(error.what(), kFailure);
            }
            throw;
        }
        finish();
        return code;
    }

private:
    [[nodiscard]] int each(const Segmenter& segmenter) {
        int code = 0;
        for (const Source& source : sources_) {
            if (!arguments_.json) {
                print_line(source.path.string());
            }
            try {
                one(segmenter, source);
            } catch (const OutputError&) {
                throw;  // the next picture would fail in the same way
            } catch (const OptionError&) {
                throw;
            } catch (const WordError&) {
                throw;
            } catch (const std::exception& error) {
                code = fail(error.what(), kFailure);
                if (arguments_.json) {
                    print_json({{"source", source.path.string()}, {"error", error.what()}});
                }
            }
        }
        return code;
    }

    /// Write what holds all pictures.
    void finish() const {
        if (!all_ || !arguments_.out || !all_->write_to(*arguments_.out / kTogether)) {
            return;
        }
        const std::string path = (*arguments_.out / kTogether).string();
        if (arguments_.json) {
            print_json({{"files", {path}}});
        } else {
            print_line("wrote " + path);
        }
    }

    /// Check the names of all files before the first is written, and remove what killed runs left.
    void prepare(const std::filesystem::path& folder) {
        inputs_.emplace(sources_, folder);
        for (const Source& source : sources_) {
            for (const std::string& format : formats_) {
                inputs_->refuse(file_names(source.stem, arguments_.classes, format));
            }
        }
        if (all_) {
            inputs_->refuse(std::vector<std::string>{kTogether});
        }
        make_folder(folder);
        sweep(folder);
    }

    void one(const Segmenter& segmenter, const Source& source) {
        const DecodedImage image = read_image(source.path, arguments_.options.limits.max_pixels);
        Request request = arguments_.request;
        if (regions_) {
            request.regions = regions_->of(source.path);
        }
        if (arguments_.zoom_in || arguments_.zoom.boxes_as_masks || regions_) {
            request.zoom_in = arguments_.zoom;
        }
        const Result result = segmenter(image.view(), arguments_.classes, request);
        std::vector<std::filesystem::path> files;
        if (arguments_.out) {
            files = save(result, image, source, *inputs_, *arguments_.out, formats_);
            if (all_) {
                all_->add(result, source.name);
                files.push_back(*arguments_.out / kTogether);
            }
        }
        if (!arguments_.json) {
            for (const std::string& note : image.notes) {
                print_line("  note: " + note);
            }
            print_table(result, files);
            return;
        }
        nlohmann::ordered_json document = report_of(result, source.path);
        nlohmann::ordered_json notes = arguments_.notes;  // of how the words were read, before those of the result
        for (const auto& note : document["notes"]) {
            notes.push_back(note);
        }
        document["notes"] = std::move(notes);
        for (const std::string& note : image.notes) {
            document["notes"].push_back(note);
        }
        if (regions_) {
            document["regions"]["source"] = "boxes of " + arguments_.regions->filename().string();
        }
        for (const auto& file : files) {
            document["files"].push_back(file.string());
        }
        if (told_) {  // once for all pictures
            document["backend_notes"] = nlohmann::ordered_json::array();
        }
        told_ = true;
        print_json(document);
    }

    const Arguments& arguments_;
    std::vector<Source> sources_;
    std::vector<std::string> formats_ = arguments_.formats;  ///< that are files of each picture
    std::optional<CocoDocument> all_;
    std::optional<RegionFile> regions_;
    std::optional<Inputs> inputs_;
    bool told_ = false;
};

}  // namespace

int main(int count, char** values) {
    const bool writable = open_standard_streams();
    std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large is an error with a sentence
    try {
        const Arguments arguments = parse(count, values);
        if (arguments.help) {
            const std::string_view help = help_text();
            print_line(help.substr(0, help.size() - 1));
            return 0;
        }
        if (arguments.version) {
            print_line("clsclip-infer-cpp " + std::string(version()));
            return 0;
        }
        if (!writable && arguments.json) {
            throw OutputError("standard output is closed, and JSON goes there. Send it to a file: > results.jsonl");
        }
        return Run(arguments).all();
    } catch (const UsageError& error) {
        return fail(error.what() + std::string(" (see clsclip-infer-cpp --help)"), kWrongUse);
    } catch (const WordError& error) {
        return fail(error.what(), kWrongUse);
    } catch (const OptionError& error) {
        return fail(error.what(), kWrongUse);
    } catch (const std::exception& error) {
        return fail(error.what(), kFailure);
    }
}
