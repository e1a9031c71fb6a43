#include "backends/tensorrt/files.hpp"

#include <algorithm>
#include <system_error>

#include "json.hpp"
#include "file_bytes.hpp"
#include "errors.hpp"
#include "sha256.hpp"
#include "backends/tensorrt/place.hpp"

namespace clsclip {

namespace fs = std::filesystem;

namespace {

std::string_view as_text(std::span<const std::uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Why an engine does not fit; empty when it does.
std::string misfit(const Json& document, const std::string& name, const Machine& machine, const Json& digests) {
    const Json& spec = document.at("spec");
    if (spec.at("onnx") != digests) {
        return name + " was built from another " + spec.at("graph").get<std::string>() +
               " than the bundle's";
    }
    const Machine built{spec.at("edition"), spec.at("version"), spec.at("gpu"), spec.at("compute_capability")};
    const Json flags = spec.value("flags", Json::object());
    const auto major = [](const std::string& version) { return version.substr(0, version.find('.')); };
    const bool portable = flags.value("version_compatible", false) && major(built.version) == major(machine.version);
    const bool gpu_fits = built.gpu == "any" ||
                          (built.gpu == machine.gpu && built.compute_capability == machine.compute_capability) ||
                          (flags.value("hardware_compatible", false) &&
                           std::stod(machine.compute_capability) >= std::stod(built.compute_capability));
    if (flags.value("strip_weights", false)) {
        return name + " has no weights, which this library does not put back. Build one with weights";
    }
    if (built.edition == machine.edition && (built.version == machine.version || portable) && gpu_fits) {
        return "";
    }
    return name + " was built for " + built.text() + "; this machine has " + machine.text();
}

std::map<std::string, AxisNames> axes_of(const Json& axes) {
    std::map<std::string, AxisNames> all;
    for (const auto& [name, names] : axes.items()) {
        for (const Json& one : names) {
            all[name].push_back(one.is_null() ? std::nullopt : std::optional<char>(one.get<std::string>().at(0)));
        }
    }
    return all;
}

EngineFile verified(const Json& document, const fs::path& plan, const Machine& machine) {
    const FileBytes file(plan);
    if (file.bytes().size() != document.at("plan_bytes").get<std::uint64_t>() ||
        file.sha256() != document.at("plan_sha256").get<std::string>()) {
        fail<BackendError>(plan, " is damaged: its size or SHA-256 is not the one that it was built with. Build it "
                                 "again: clsclip-export --from-bundle BUNDLE --engine ",
                           machine.edition);
    }
    const Json& spec = document.at("spec");
    EngineFile engine{plan, spec.at("gpu").get<std::string>(),
                      spec.value("flags", Json::object()).value("version_compatible", false),
                      axes_of(document.at("axes").at("inputs")), axes_of(document.at("axes").at("outputs")), {}};
    for (const auto& [axis, name] : {std::pair('C', "crops"), std::pair('K', "classes"), std::pair('P', "pairs")}) {
        if (spec.at("profile").contains(name)) {
            const auto bounds = spec.at("profile").at(name).get<std::vector<std::int64_t>>();
            engine.ranges[axis] = {bounds.at(0), bounds.at(2)};
        }
    }
    return engine;
}

}  // namespace

std::string Machine::text() const {
    return edition + " " + version + " on " + gpu + " (sm_" + compute_capability + ")";
}

EngineFile find_engine(const fs::path& folder, const GraphFile& graph, const Machine& machine) {
    const fs::path& path = graph.path;
    const fs::path bundle = path.parent_path();
    const std::string command = text_of("Run: clsclip-export --from-bundle ", bundle, " --engine ", machine.edition);
    std::vector<fs::path> sidecars;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        if (entry.path().extension() == ".json") {
            sidecars.push_back(entry.path());
        }
    }
    std::sort(sidecars.begin(), sidecars.end());
    std::vector<std::string> reasons;
    for (const fs::path& sidecar : sidecars) {
        try {
            const Json document = parse_json(as_text(FileBytes(sidecar).bytes()));
            if (document.at("spec").at("graph") != path.filename().string()) {
                continue;
            }
            const fs::path plan = fs::path(sidecar).replace_extension(".plan");
            const std::string reason = misfit(document, plan.filename().string(), machine, graph.digests);
            if (reason.empty()) {
                return verified(document, plan, machine);
            }
            reasons.push_back(reason);
        } catch (const Error&) {
            throw;
        } catch (const std::exception& wrong) {  // JSON of another layout, a number that is none, a file that is gone
            reasons.push_back(text_of(sidecar, " is damaged (", one_line(wrong.what(), 120), ")"));
        }
    }
    if (reasons.empty()) {
        const std::string note = engines_passed_over(bundle, folder);
        fail<BackendError>(folder, " has no engine of ", path.filename(), " for ", machine.text(), ". ", command,
                           note.empty() ? "" : "; ", note);
    }
    fail<BackendError>(joined(reasons, "; "), ". Engines are not portable. ", command);
}

}  // namespace clsclip
