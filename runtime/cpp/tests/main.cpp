#define CATCH_CONFIG_RUNNER
#include <dlfcn.h>
#include <link.h>

#include <filesystem>
#include <string>

#include "catch.hpp"

namespace fs = std::filesystem;

namespace {

/// The file of the engine that the tests are linked to; empty where there is none.
fs::path engine_library() {
    std::string found;
    dl_iterate_phdr(
        [](dl_phdr_info* library, std::size_t, void* name) {
            const std::string path = library->dlpi_name;
            if (fs::path(path).filename().string().rfind("libopenvino.so", 0) == 0) {
                *static_cast<std::string*>(name) = path;
            }
            return 0;
        },
        &found);
    return found;
}

/// Keep all of the engine's libraries, which come and go with what is read, until the process ends: the sanitizers tell
/// what is the engine's from what is ours by the library alone.
void keep_engine_loaded() {
    const fs::path engine = engine_library();
    if (engine.empty()) {
        return;
    }
    for (const auto& file : fs::directory_iterator(engine.parent_path())) {
        if (file.path().filename().string().find("openvino") != std::string::npos) {
            dlopen(file.path().c_str(), RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
        }
    }
}

}  // namespace

int main(int count, char** values) {
    keep_engine_loaded();
    return Catch::Session().run(count, values);
}
