#define CATCH_CONFIG_RUNNER
#include <dlfcn.h>
#include <link.h>

#include <filesystem>
#include <string>

#include "catch.hpp"

namespace fs = std::filesystem;

namespace {

/// The file of the backend that the tests are linked to; empty where there is none.
fs::path backend_library() {
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

/// Keep all of the backend's libraries, which come and go with what is read, until the process ends: the sanitizers tell
/// what is the backend's from what is ours by the library alone.
void keep_backend_loaded() {
    const fs::path backend = backend_library();
    if (backend.empty()) {
        return;
    }
    for (const auto& file : fs::directory_iterator(backend.parent_path())) {
        if (file.path().filename().string().find("openvino") != std::string::npos) {
            dlopen(file.path().c_str(), RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
        }
    }
}

}  // namespace

int main(int count, char** values) {
    keep_backend_loaded();
    return Catch::Session().run(count, values);
}
