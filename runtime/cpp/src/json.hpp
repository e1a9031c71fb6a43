/// JSON from untrusted files: bounded while it is parsed, and nothing in it is ambiguous.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace clsclip {

using Json = nlohmann::json;

/// Objects and lists within each other at most; the parsers of this library call themselves no deeper.
inline constexpr std::size_t kMostJsonDepth = 64;
/// Numbers, texts, lists and objects of one document at most: a vocabulary of 250,000 tokens with its merges.
inline constexpr std::size_t kMostJsonValues = std::size_t{1} << 21;

/// Parse a document. Json::exception with the reason when it is not JSON, has a NUL byte, is nested too deep, holds too
/// many values, has a key twice in one object, or a number that 64 bits do not hold.
[[nodiscard]] Json parse_json(std::string_view document, std::size_t most_values = kMostJsonValues);

/// What an exception says, in ASCII: it may quote the document, whose bytes may be no UTF-8.
[[nodiscard]] std::string ascii_reason(const std::exception& error);

}  // namespace clsclip
