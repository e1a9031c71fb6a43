/// The two passes of a resize, row by row: along rows, and across them. Rows are planes of 16-bit numbers from 0 to 255.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "images/filters.hpp"

namespace clsclip {

/// The pass along rows: every plane of a row gets another length.
class AlongRows {
public:
    /// Rows of `planes` planes, each `old_side` numbers and the padding that `plane_size` tells apart.
    AlongRows(Filter filter, int old_side, int new_side, int planes);

    /// Numbers from one plane of an old row to the next; those behind its pixels must exist, and are not used.
    [[nodiscard]] std::size_t plane_size() const noexcept { return plane_size_; }
    /// Numbers of a whole old row.
    [[nodiscard]] std::size_t row_size() const noexcept { return plane_size_ * planes_; }

    /// Write (planes, new_side).
    void operator()(const std::int16_t* row, std::int16_t* out) const;

private:
    std::size_t planes_;
    std::size_t new_side_;
    std::size_t plane_size_;
    // Weights in two halves of 16 bits: a processor multiplies and adds pairs of those at once. None: rows stay.
    std::vector<std::int16_t> high_;
    std::vector<std::int16_t> low_;
    std::vector<std::size_t> first_;
    std::size_t width_ = 0;  ///< weights of a new pixel, in whole blocks
};

/// The pass across rows: old rows go in from the top, new rows come out as soon as they are complete.
class AcrossRows {
public:
    /// Takes a new row and its number.
    using Emit = std::function<void(std::size_t number, const std::int16_t* row)>;

    /// Rows of `row_size` numbers.
    AcrossRows(Filter filter, int old_side, int new_side, std::size_t row_size, Emit emit);

    /// The next old row.
    void add(const std::int16_t* row);

private:
    [[nodiscard]] int end_of(std::size_t number) const { return weights_.first[number] + weights_.count[number]; }

    Weights weights_;  ///< none: rows stay
    std::size_t row_size_;
    Emit emit_;
    int taken_ = 0;
    std::size_t begin_ = 0;  ///< new rows before it are complete
    std::size_t end_ = 0;    ///< new rows from it on have not begun
    std::vector<std::int32_t> sums_;
    std::vector<std::int16_t> row_;
};

}  // namespace clsclip
