/// JSON from untrusted files: depth is bounded before anything is built from it.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace clsclip {

using Json = nlohmann::json;

/// Objects and lists within each other at most; the parsers of this library call themselves no deeper.
inline constexpr int kMostJsonDepth = 256;

/// Parse a document. Json::exception with the reason when it is not JSON or is nested too deep.
[[nodiscard]] inline Json parse_json(std::string_view document) {
    const Json::parser_callback_t bounded = [](int depth, Json::parse_event_t event, Json&) {
        const bool opens = event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
        if (opens && depth >= kMostJsonDepth) {
            throw Json::out_of_range::create(408, "nested too deep", nullptr);
        }
        return true;
    };
    return Json::parse(document.begin(), document.end(), bounded);
}

/// What an exception says, in ASCII: it may quote the document, whose bytes may be no UTF-8.
[[nodiscard]] inline std::string ascii_reason(const std::exception& error) {
    std::string text = error.what();
    for (char& one : text) {
        one = static_cast<unsigned char>(one) < 0x80 ? one : '?';
    }
    return text;
}

}  // namespace clsclip
