#include "backends/tensorrt/place.hpp"

#include <cstdlib>
#include <string_view>
#include <system_error>

#ifndef _WIN32
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "errors.hpp"

namespace clsclip {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFolder = "engines";
constexpr const char* kVariable = "CLSCLIP_CACHE";

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : value;
}

/// The user's cache folder; empty where there is none.
fs::path users_folder() {
    const std::string given = variable(kVariable);
    if (!given.empty()) {
        const bool in_home = given == "~" || given.starts_with("~/");
        return given == "off" ? fs::path() : in_home ? fs::path(variable("HOME") + given.substr(1)) : fs::path(given);
    }
#ifdef _WIN32
    const fs::path base = variable("LOCALAPPDATA");
#else
    const fs::path base = variable("XDG_CACHE_HOME");
#endif
    if (base.is_absolute()) {
        return base / "clsclip";
    }
    const std::string home = variable("HOME");
    return home.empty() ? fs::path() : fs::path(home) / ".cache" / "clsclip";
}

/// Why others might have written into a folder; empty where only this user can, and where there is none.
std::string not_private([[maybe_unused]] const fs::path& folder) {
#ifndef _WIN32
    struct stat found{};
    if (lstat(folder.c_str(), &found) != 0) {
        return "";
    }
    if (!S_ISDIR(found.st_mode)) {
        return text_of(folder, " is no folder");
    }
    if (found.st_uid != geteuid()) {
        return text_of(folder, " belongs to another user");
    }
    if ((found.st_mode & 077) != 0) {
        return text_of(folder, " is open to other users");
    }
#endif
    return "";
}

}  // namespace

fs::path EnginePlace::readable(const std::string& fingerprint) const {
    if (trusted && folder.empty()) {
        fail<OptionError>("trust_engines is about the folder of engines. Give that too (--engines DIR)");
    }
    if (trusted) {
        return folder;
    }
    const fs::path cache = users_folder();
    const fs::path own = cache.empty() ? fs::path() : cache / kFolder / fingerprint;
    std::error_code none;
    if (!folder.empty() && (own.empty() || !fs::equivalent(folder, own, none))) {
        fail<OptionError>(folder, " is not this user's cache, and engines are machine code: whoever wrote there can run "
                                  "programs as you. If you trust it, say so: trust_engines (--trust-engines)");
    }
    if (own.empty()) {
        fail<BackendError>("engines are kept in the user's cache, and there is none (", kVariable,
                           "=off, or no home folder). Give a folder: --engines DIR --trust-engines");
    }
    for (const fs::path& part : {own.parent_path(), own}) {
        const std::string problem = not_private(part);
        if (!problem.empty()) {
            fail<BackendError>("engines are machine code, and ", problem, ", so that others could have put some there. "
                               "Run: chmod 700 ", part, ", if you know what lies there");
        }
    }
    return own;
}

std::string engines_passed_over(const fs::path& bundle, const fs::path& used) {
    std::error_code none;
    if (!fs::is_directory(bundle / kFolder, none) || fs::equivalent(used, bundle / kFolder, none)) {
        return "";
    }
    return text_of(kFolder, "/ in ", bundle, " is passed over: engines are machine code, and a bundle must not bring any. "
                   "Build them: clsclip-export --from-bundle ", bundle, " --engine tensorrt");
}

}  // namespace clsclip
