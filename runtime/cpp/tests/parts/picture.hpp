/// Pictures of questions.
#pragma once

#include <cstdint>
#include <vector>

#include "clsclip/clsclip.hpp"
#include "parts.hpp"

namespace clsclip::parts {

/// A picture in a file of raw bytes.
struct Picture {
    std::vector<std::uint8_t> bytes;
    ImageView view;
    Window window;
};

Picture read_picture(const Json& question);

}  // namespace clsclip::parts
