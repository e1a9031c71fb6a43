/// Masks as COCO's compressed run-length encoding, as pycocotools reads and writes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// Runs of a mask, column by column: zeros first (perhaps none of them), then ones, and so on in turns.
[[nodiscard]] std::vector<std::uint32_t> runs_of(const Mask& mask);

/// Runs of a picture of width x height in which `mask` lies at (left, top), and everything else is 0.
[[nodiscard]] std::vector<std::uint32_t> runs_of(const Mask& mask, int left, int top, int width, int height);

/// COCO's "counts": runs as text.
[[nodiscard]] std::string compress_runs(const std::vector<std::uint32_t>& runs);

/// Runs of COCO's "counts". OptionError: it is no such text.
[[nodiscard]] std::vector<std::uint32_t> expand_runs(std::string_view counts);

/// COCO's "counts" of a mask.
[[nodiscard]] std::string encode_rle(const Mask& mask);

/// The mask of an encoding. OptionError: its counts are no such text, or do not fit its size.
[[nodiscard]] Mask decode_rle(const RleMask& rle);

}  // namespace clsclip
