#include <algorithm>
#include <array>
#include <functional>

#include "backends/select.hpp"
#include "errors.hpp"

namespace clsclip {

#ifdef CLSCLIP_HAS_TENSORRT
std::unique_ptr<Backend> make_tensorrt(int threads, const EnginePlace& place);
#endif
#ifdef CLSCLIP_HAS_OPENVINO
std::unique_ptr<Backend> make_openvino(int threads);
#endif
#ifdef CLSCLIP_HAS_ONNXRUNTIME
std::unique_ptr<Backend> make_onnxruntime(int threads);
#endif

namespace {

struct Maker {
    std::string_view name;
    std::unique_ptr<Backend> (*make)(int threads, const EnginePlace& place);
};

/// Every backend of this build, in the order in which "auto" tries them.
const std::vector<Maker>& makers() {
    static const std::vector<Maker> all{
#ifdef CLSCLIP_HAS_TENSORRT
        {"tensorrt", make_tensorrt},
#endif
#ifdef CLSCLIP_HAS_OPENVINO
        {"openvino", [](int threads, const EnginePlace&) { return make_openvino(threads); }},
#endif
#ifdef CLSCLIP_HAS_ONNXRUNTIME
        {"onnxruntime-cpu", [](int threads, const EnginePlace&) { return make_onnxruntime(threads); }},
#endif
    };
    return all;
}

}  // namespace

std::vector<std::string> backends() {
    std::vector<std::string> names;
    for (const Maker& one : makers()) {
        names.emplace_back(one.name);
    }
    return names;
}

std::unique_ptr<Backend> make_backend(std::string_view name, int threads, const EnginePlace& place) {
    const auto& all = makers();
    const auto found = std::find_if(all.begin(), all.end(), [name](const Maker& one) { return one.name == name; });
    if (found == all.end()) {
        const std::string known = joined(backends());
        fail<OptionError>("there is no backend '", name, "' in this build. Choose one of: auto",
                          known.empty() ? "" : ", ", known,
                          ". Others are built in when CMake finds them: see the list that it prints");
    }
    return found->make(threads, place);
}

}  // namespace clsclip
