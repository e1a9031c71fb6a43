/// How a detector's outputs are read. What the layouts mean, for B pictures, N boxes and C classes:
///
///     yolov5         (B, N, 5 + C)   YOLOv5, and YOLOv7 without built-in suppression: center, size, objectness, scores
///     yolov7-nms     (N, 7)          YOLOv7 with built-in suppression: picture, x0, y0, x1, y1, class, score
///     tensorrt-nms   four outputs    number (B, 1), boxes (B, M, 4) xyxy, scores (B, M), classes (B, M)
///     yolov8         (B, 4 + C, N)   YOLOv8, v9, 11, 12: center, size, scores
///     yolov10        (B, M, 6)       YOLOv10, 26, and others with built-in suppression: x0, y0, x1, y1, score, class
///     yolox          (B, N, 5 + C)   YOLOX: as yolov5, but in units of the grid
///     yolox-decoded  (B, N, 5 + C)   YOLOX exported with its decoding
///     rtdetr         (B, M, 6)       RT-DETR of ultralytics: center, size, score, class
///     rtdetr-scores  (B, M, 4 + C)   RT-DETR of older ultralytics: center, size, scores
///
/// Positions are pixels of the input, and RT-DETR's are shares of it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "bundle/manifest.hpp"
#include "clsclip/clsclip.hpp"

namespace clsclip {

/// One output of a detector's graph, as float32.
struct DetectorOutput {
    std::vector<std::int64_t> shape;
    std::span<const float> values;
};

/// Boxes of one picture as the graph gives them.
struct Candidates {
    std::vector<Box> boxes;       ///< in input pixels, any numbers
    std::vector<float> scores;    ///< 0..1
    std::vector<double> classes;  ///< class numbers, any numbers where the graph itself names the class
};

/// Whether a layout's positions are shares of the input, 0..1.
[[nodiscard]] bool in_shares(std::string_view layout);

/// Whether a layout's graph drops overlapping boxes itself.
[[nodiscard]] bool is_suppressed(std::string_view layout);

/// The candidates of every picture of a call.
///
/// DetectorError: the outputs do not have the axes of the layout, or their scores cannot be scores.
[[nodiscard]] std::vector<Candidates> read_candidates(const DetectorSpec& spec, std::span<const DetectorOutput> outputs,
                                                      std::size_t pictures);

}  // namespace clsclip
