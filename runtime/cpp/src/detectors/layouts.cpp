#include "detectors/layouts.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "errors.hpp"

namespace clsclip {

namespace {

constexpr float kScoreSlack = 0.01F;  ///< half and int8 graphs overshoot 0..1 by their rounding
constexpr std::array kStrides{8, 16, 32};

std::size_t size_of(std::int64_t axis) { return static_cast<std::size_t>(axis); }

std::string shape_text(const DetectorOutput& output) {
    std::vector<std::string> axes;
    for (const std::int64_t axis : output.shape) {
        axes.push_back(std::to_string(axis));
    }
    return text_of("(", joined(axes), ")");
}

/// Columns of a row, or rows of a column in yolov8; 0 where the layout has no class scores.
std::int64_t score_columns(const DetectorSpec& spec) {
    const auto names = static_cast<std::int64_t>(spec.names.size());
    if (spec.output_format == "yolov8") {
        return 4 + names;
    }
    if (spec.output_format == "rtdetr-scores") {
        return 4 + names;
    }
    return spec.output_format == "yolov10" || spec.output_format == "rtdetr" ? 6 : 5 + names;
}

bool fits(const DetectorSpec& spec, std::span<const DetectorOutput> outputs, std::int64_t count) {
    for (const DetectorOutput& output : outputs) {
        std::uint64_t values = 1;
        for (const std::int64_t axis : output.shape) {
            if (axis < 0 || (axis > 0 && values > std::numeric_limits<std::uint64_t>::max() / size_of(axis))) {
                return false;
            }
            values *= size_of(axis);
        }
        if (values != output.values.size()) {
            return false;
        }
    }
    const auto rank = [&](std::size_t at) { return outputs.size() > at ? outputs[at].shape.size() : 0; };
    if (spec.output_format == "yolov7-nms") {
        return rank(0) == 2 && outputs[0].shape[1] == 7;
    }
    if (spec.output_format == "tensorrt-nms") {
        if (outputs.size() != 4 || rank(0) != 2 || rank(1) != 3 || rank(2) != 2 || rank(3) != 2) {
            return false;
        }
        const std::int64_t room = outputs[1].shape[1];
        return std::all_of(outputs.begin(), outputs.end(), [&](const auto& one) { return one.shape[0] == count; }) &&
               outputs[0].shape[1] == 1 && outputs[1].shape[2] == 4 && outputs[2].shape[1] == room &&
               outputs[3].shape[1] == room;
    }
    const std::size_t axis = spec.output_format == "yolov8" ? 1 : 2;
    return rank(0) == 3 && outputs[0].shape[0] == count && outputs[0].shape[axis] == score_columns(spec);
}

/// The lowest and highest of some scores, told apart from what is not a number.
class ScoreRange {
public:
    void add(float score) {
        low_ = std::min(low_, score);
        high_ = std::max(high_, score);
        finite_ = finite_ && std::isfinite(score);
    }

    /// DetectorError unless all of them can be scores.
    void check() const {
        if (finite_ && low_ >= -kScoreSlack && high_ <= 1 + kScoreSlack) {
            return;
        }
        if (!finite_) {
            fail<DetectorError>("the detector gave NaN or infinity as a score: its file is damaged. Export it again");
        }
        fail<DetectorError>("the detector gave scores from ", low_, " to ", high_,
                            ", and scores are from 0 to 1: its outputs are read in a layout that they do not have, or it "
                            "was exported without its last sigmoid. Name the layout, or export it again");
    }

private:
    float low_ = 0;
    float high_ = 0;
    bool finite_ = true;
};

float probability(float score) { return std::clamp(score, 0.0F, 1.0F); }

/// Centre, width, height to xyxy.
Box corners(float x, float y, float width, float height) {
    return {x - width / 2, y - height / 2, x + width / 2, y + height / 2};
}

std::vector<Candidates> yolov8(const DetectorSpec& spec, const DetectorOutput& output) {
    const std::size_t boxes = size_of(output.shape[2]), classes = spec.names.size();
    const std::size_t picture = (4 + classes) * boxes;
    std::vector<Candidates> all(size_of(output.shape[0]));
    ScoreRange range;
    for (std::size_t number = 0; number < all.size(); ++number) {
        const float* rows = output.values.data() + number * picture;
        std::for_each(rows + 4 * boxes, rows + picture, [&](float score) { range.add(score); });
    }
    range.check();
    for (std::size_t number = 0; number < all.size(); ++number) {
        const float* rows = output.values.data() + number * picture;
        Candidates& own = all[number];
        own.scores.assign(boxes, -1.0F);
        own.classes.assign(boxes, 0);
        for (std::size_t kind = 0; kind < classes; ++kind) {
            const float* scores = rows + (4 + kind) * boxes;
            for (std::size_t at = 0; at < boxes; ++at) {
                const float score = probability(scores[at]);
                if (score > own.scores[at]) {
                    own.scores[at] = score;
                    own.classes[at] = static_cast<double>(kind);
                }
            }
        }
        for (std::size_t at = 0; at < boxes; ++at) {
            own.boxes.push_back(corners(rows[at], rows[boxes + at], rows[2 * boxes + at], rows[3 * boxes + at]));
        }
    }
    return all;
}

/// Rows of center, size, objectness and scores; `decode` makes pixels of the first four numbers of a row.
template <class Decode>
std::vector<Candidates> yolov5(const DetectorSpec& spec, const DetectorOutput& output, Decode decode) {
    const std::size_t boxes = size_of(output.shape[1]), classes = spec.names.size(), columns = 5 + classes;
    std::vector<Candidates> all(size_of(output.shape[0]));
    ScoreRange range;
    for (std::size_t row = 0; row < all.size() * boxes; ++row) {
        const float* values = output.values.data() + row * columns;
        std::for_each(values + 4, values + columns, [&](float score) { range.add(score); });
    }
    range.check();
    for (std::size_t row = 0; row < all.size() * boxes; ++row) {
        const float* values = output.values.data() + row * columns;
        std::size_t best = 0;
        float highest = -1;
        for (std::size_t kind = 0; kind < classes; ++kind) {
            const float score = probability(values[5 + kind]) * probability(values[4]);
            if (score > highest) {
                best = kind;
                highest = score;
            }
        }
        Candidates& own = all[row / boxes];
        own.boxes.push_back(decode(row % boxes, values));
        own.scores.push_back(highest);
        own.classes.push_back(static_cast<double>(best));
    }
    return all;
}

/// Corner of a cell in cells, and its stride in pixels.
struct Cell {
    float x, y, stride;
};

std::vector<Cell> grid(const DetectorSpec& spec) {
    std::vector<Cell> cells;
    for (const int stride : kStrides) {
        const int rows = (spec.height + stride - 1) / stride, columns = (spec.width + stride - 1) / stride;
        for (int y = 0; y < rows; ++y) {
            for (int x = 0; x < columns; ++x) {
                cells.push_back({static_cast<float>(x), static_cast<float>(y), static_cast<float>(stride)});
            }
        }
    }
    return cells;
}

std::vector<Candidates> yolox(const DetectorSpec& spec, const DetectorOutput& output) {
    const std::vector<Cell> cells = grid(spec);
    if (size_of(output.shape[1]) != cells.size()) {
        fail<DetectorError>("the detector gives ", output.shape[1], " boxes for an input of ", spec.width, "x",
                            spec.height, ", and YOLOX's raw grid has ", cells.size(),
                            ". Name the layout that it has, yolov5 or yolox-decoded, and export the bundle again");
    }
    return yolov5(spec, output, [&](std::size_t at, const float* row) {
        const Cell& cell = cells[at];
        // What overflows is dropped with its box.
        return corners((row[0] + cell.x) * cell.stride, (row[1] + cell.y) * cell.stride, std::exp(row[2]) * cell.stride,
                       std::exp(row[3]) * cell.stride);
    });
}

std::vector<Candidates> yolov10(const DetectorOutput& output) {
    const std::size_t boxes = size_of(output.shape[1]);
    std::vector<Candidates> all(size_of(output.shape[0]));
    ScoreRange range;
    for (std::size_t row = 0; row < all.size() * boxes; ++row) {
        const float* values = output.values.data() + row * 6;
        range.add(values[4]);
        Candidates& own = all[row / boxes];
        own.boxes.push_back({values[0], values[1], values[2], values[3]});
        own.scores.push_back(probability(values[4]));
        own.classes.push_back(values[5]);
    }
    range.check();
    return all;
}

/// Rows of center and size as shares of the input, then a score and a class, or a score for each class.
std::vector<Candidates> rtdetr(const DetectorSpec& spec, const DetectorOutput& output, bool of_classes) {
    const std::size_t boxes = size_of(output.shape[1]), columns = size_of(output.shape[2]);
    const auto width = static_cast<float>(spec.width), height = static_cast<float>(spec.height);
    std::vector<Candidates> all(size_of(output.shape[0]));
    ScoreRange range;
    for (std::size_t row = 0; row < all.size() * boxes; ++row) {
        const float* values = output.values.data() + row * columns;
        const float* best = values + 4;
        if (of_classes) {
            std::for_each(values + 4, values + columns, [&](float score) { range.add(score); });
            best = std::max_element(values + 4, values + columns);
        }
        range.add(*best);
        Candidates& own = all[row / boxes];
        own.boxes.push_back(corners(values[0] * width, values[1] * height, values[2] * width, values[3] * height));
        own.scores.push_back(probability(*best));
        own.classes.push_back(of_classes ? static_cast<double>(best - values - 4) : values[5]);
    }
    range.check();
    return all;
}

std::vector<Candidates> yolov7_nms(const DetectorOutput& output, std::size_t pictures) {
    std::vector<Candidates> all(pictures);
    ScoreRange range;
    for (std::size_t at = 6; at < output.values.size(); at += 7) {
        range.add(output.values[at]);
    }
    range.check();
    for (std::size_t at = 0; at + 7 <= output.values.size(); at += 7) {
        const float* row = output.values.data() + at;
        if (!(row[0] >= 0 && row[0] < static_cast<float>(pictures) && row[0] == std::floor(row[0]))) {
            fail<DetectorError>("the detector gives boxes for pictures that were not asked: ", pictures,
                                " went in. Name its layout, or export it again");
        }
        Candidates& own = all[static_cast<std::size_t>(row[0])];
        own.boxes.push_back({row[1], row[2], row[3], row[4]});
        own.classes.push_back(row[5]);
        own.scores.push_back(probability(row[6]));
    }
    return all;
}

std::vector<Candidates> tensorrt_nms(std::span<const DetectorOutput> outputs) {
    const std::size_t room = size_of(outputs[1].shape[1]);
    std::vector<Candidates> all(size_of(outputs[0].shape[0]));
    for (std::size_t number = 0; number < all.size(); ++number) {
        const float count = outputs[0].values[number];
        if (!(count >= 0 && count <= static_cast<float>(room))) {
            fail<DetectorError>("the detector says that it found ", count, " boxes, and it has room for ", room,
                                ". Its file is damaged: export it again");
        }
        ScoreRange range;
        for (std::size_t at = number * room; at < number * room + static_cast<std::size_t>(count); ++at) {
            const float* box = outputs[1].values.data() + 4 * at;
            range.add(outputs[2].values[at]);
            all[number].boxes.push_back({box[0], box[1], box[2], box[3]});
            all[number].scores.push_back(probability(outputs[2].values[at]));
            all[number].classes.push_back(outputs[3].values[at]);
        }
        range.check();
    }
    return all;
}

}  // namespace

bool in_shares(std::string_view layout) { return layout == "rtdetr" || layout == "rtdetr-scores"; }

bool is_suppressed(std::string_view layout) {
    return layout == "yolov7-nms" || layout == "tensorrt-nms" || layout == "yolov10" || in_shares(layout);
}

std::vector<Candidates> read_candidates(const DetectorSpec& spec, std::span<const DetectorOutput> outputs,
                                        std::size_t pictures) {
    if (!fits(spec, outputs, static_cast<std::int64_t>(pictures))) {
        std::vector<std::string> shapes;
        std::transform(outputs.begin(), outputs.end(), std::back_inserter(shapes), shape_text);
        fail<DetectorError>("the detector gave outputs of shape ", joined(shapes), " for ", pictures,
                            " pictures, which the layout ", spec.output_format, " with ", spec.names.size(),
                            " classes does not have. Name the right layout and names, or export it again");
    }
    if (spec.output_format == "yolov8") {
        return yolov8(spec, outputs[0]);
    }
    if (spec.output_format == "yolov10") {
        return yolov10(outputs[0]);
    }
    if (in_shares(spec.output_format)) {
        return rtdetr(spec, outputs[0], spec.output_format == "rtdetr-scores");
    }
    if (spec.output_format == "yolov7-nms") {
        return yolov7_nms(outputs[0], pictures);
    }
    if (spec.output_format == "tensorrt-nms") {
        return tensorrt_nms(outputs);
    }
    if (spec.output_format == "yolox") {
        return yolox(spec, outputs[0]);
    }
    if (spec.output_format == "yolov5" || spec.output_format == "yolox-decoded") {
        return yolov5(spec, outputs[0],
                      [](std::size_t, const float* row) { return corners(row[0], row[1], row[2], row[3]); });
    }
    fail<DetectorError>("there is no layout '", spec.output_format, "'. Upgrade clsclip, or export the bundle again");
}

}  // namespace clsclip
