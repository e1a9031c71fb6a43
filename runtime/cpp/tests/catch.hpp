/// Catch2 of version 2 or 3, under one set of names.
#pragma once

#include <string>

#if CLSCLIP_CATCH2 >= 3
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif

namespace clsclip::test {

/// Catch's matcher of a part of an error's message.
inline auto says(const std::string& part) {
#if CLSCLIP_CATCH2 >= 3
    return Catch::Matchers::ContainsSubstring(part);
#else
    return Catch::Matchers::Contains(part);
#endif
}

}  // namespace clsclip::test
