/// Where TensorRT's engines lie: in the user's cache, or in a folder that the user vouches for. Never in a bundle.
#pragma once

#include <filesystem>
#include <string>

namespace clsclip {

/// Where engines are loaded from.
struct EnginePlace {
    std::filesystem::path folder;  ///< that was given; empty: the user's cache
    bool trusted = false;          ///< load from `folder` although it is not this user's cache

    /// The folder to load the engines of a bundle from; it need not be there. OptionError: the folder that was given is
    /// not this user's cache, and is not trusted. BackendError: there is no cache, or others can write into it.
    [[nodiscard]] std::filesystem::path readable(const std::string& fingerprint) const;
};

/// A sentence where a bundle has a folder of engines, which is passed over unless it is the trusted folder `used`; else
/// empty.
[[nodiscard]] std::string engines_passed_over(const std::filesystem::path& bundle,
                                              const std::filesystem::path& used = {});

}  // namespace clsclip
