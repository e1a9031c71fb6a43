/// Building messages: `fail<BundleError>("no such bundle: ", path, ". Give ...")`.
#pragma once

#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>

#include "clsclip/clsclip.hpp"

namespace clsclip {

namespace detail {
inline void put(std::ostream& out, const std::filesystem::path& path) { out << path.string(); }
template <class Value>
void put(std::ostream& out, const Value& value) {
    out << value;
}
}  // namespace detail

/// All parts written one after another.
template <class... Parts>
[[nodiscard]] std::string text_of(const Parts&... parts) {
    std::ostringstream out;
    (detail::put(out, parts), ...);
    return out.str();
}

/// Throw an error with a message made of parts.
template <class Kind, class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    throw Kind(text_of(parts...));
}

/// Somebody else's message on one line, not too long.
[[nodiscard]] inline std::string one_line(std::string_view text, std::size_t most = 500) {
    std::istringstream in{std::string(text)};
    std::string word, line;
    while (line.size() < most && in >> word) {
        line += (line.empty() ? "" : " ") + word;
    }
    return line.substr(0, most);
}

/// Texts one after another, with something between them.
template <class Texts>
[[nodiscard]] std::string joined(const Texts& texts, std::string_view between = ", ") {
    std::string all;
    for (const auto& one : texts) {
        if (!all.empty()) {
            all += between;
        }
        all += one;
    }
    return all;
}

}  // namespace clsclip
