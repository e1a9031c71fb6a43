#include "masks/upsampling.hpp"

#include <algorithm>
#include <array>

#include "masks/cleaning.hpp"
#include "masks/refinement.hpp"
#include "masks/rle.hpp"
#include "parts.hpp"
#include "picture.hpp"
#include "regions/tiles.hpp"

namespace clsclip::parts {

namespace {

Mask mask_of(const Json& question) {
    return {question.at("width").get<int>(), question.at("height").get<int>(),
            question.at("pixels").get<std::vector<std::uint8_t>>()};
}

}  // namespace

void add_masks(Answers& answers) {
    // Masks of several windows, joined, as runs of ones and zeros.
    answers["paste"] = [](const Json& question) -> Json {
        Mask mask{question.at("width").get<int>(), question.at("height").get<int>(), {}};
        const auto stride = mask.width + question.at("pad").get<int>();
        std::vector<std::uint8_t> memory(static_cast<std::size_t>(stride) * static_cast<std::size_t>(mask.height), 0);
        for (const auto& one : question.at("masks")) {
            const auto logits = one.at("logits").get<std::vector<float>>();
            const auto corners = one.at("window").get<std::array<int, 4>>();
            const auto limit = one.at("limit").get<std::array<int, 4>>();
            paste_mask(logits, one.at("height"), one.at("width"), question.at("cut").get<float>(),
                       {corners[0], corners[1], corners[2], corners[3]}, {limit[0], limit[1], limit[2], limit[3]},
                       memory.data(), stride);
        }
        for (int y = 0; y < mask.height; ++y) {
            const auto first = memory.begin() + static_cast<std::ptrdiff_t>(y) * stride;
            mask.pixels.insert(mask.pixels.end(), first, first + mask.width);
            if (std::any_of(first + mask.width, first + stride, [](std::uint8_t one) { return one != 0; })) {
                throw Error("wrote behind a row");
            }
        }
        return mask.pixels;
    };
    answers["clean"] = [](const Json& question) -> Json {
        Mask mask = mask_of(question);
        const Cleaning cleaning{question.at("min_area").get<std::int64_t>(), question.at("largest").get<bool>(),
                                question.at("fill_holes").get<bool>()};
        cleaning.apply(mask);
        return {{"pixels", mask.pixels}, {"text", cleaning.text()}};
    };
    answers["refine"] = [](const Json& question) -> Json {
        const Picture picture = read_picture(question);
        const GuidedFilter filter(picture.view, picture.window, question.at("guide").at(0), question.at("guide").at(1));
        Map map(filter.coarse_width(), filter.coarse_height());
        map.values = question.at("values").get<std::vector<double>>();
        return filter(map);
    };
    answers["tiles"] = [](const Json& question) -> Json {
        Json windows = Json::array();
        for (const Window& one : tile_windows(question.at("width"), question.at("height"),
                                              question.at("scales").get<std::vector<int>>(), question.at("overlap"))) {
            windows.push_back({one.left, one.top, one.right, one.bottom});
        }
        return windows;
    };
    answers["encode_rle"] = [](const Json& question) -> Json {
        const Mask mask = mask_of(question);
        if (!question.contains("at")) {
            return encode_rle(mask);
        }
        const auto at = question.at("at").get<std::array<int, 4>>();
        return compress_runs(runs_of(mask, at[0], at[1], at[2], at[3]));
    };
    answers["decode_rle"] = [](const Json& question) -> Json {
        return decode_rle({question.at("height"), question.at("width"), question.at("counts")}).pixels;
    };
}

}  // namespace clsclip::parts
