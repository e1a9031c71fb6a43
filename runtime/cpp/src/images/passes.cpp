#include "images/passes.hpp"

#include <algorithm>

#include "images/fast.hpp"

namespace clsclip {

namespace {

constexpr std::size_t block = 16;  ///< weights are padded to whole blocks, so that loops have no rest
constexpr std::size_t most_summed = 256;  ///< products of 14 and 8 bits; an int32 holds twice as many
constexpr int low_bits = 14;
constexpr std::int32_t half = 1 << (weight_bits - 1);

/// A sum of weighted pixels as a pixel.
std::int16_t rounded(std::int64_t sum) {
    return static_cast<std::int16_t>(std::clamp<std::int64_t>(sum >> weight_bits, 0, 255));
}

/// A plain loop, which compilers know as the instruction that multiplies and adds pairs.
inline __attribute__((always_inline)) std::int32_t dot(const std::int16_t* one, const std::int16_t* other,
                                                       std::size_t count) {
    std::int32_t sum = 0;
    for (std::size_t x = 0; x < count; ++x) {
        sum += one[x] * other[x];
    }
    return sum;
}

CLSCLIP_FAST void shrink(const std::int16_t* plane, const std::size_t* first, const std::int16_t* high,
                         const std::int16_t* low, std::size_t width, std::size_t new_side, std::int16_t* out) {
    for (std::size_t at = 0; at < new_side; ++at, high += width, low += width) {
        const std::int16_t* old = plane + first[at];
        std::int64_t sum = half;
        for (std::size_t begin = 0; begin < width; begin += most_summed) {
            const std::size_t count = std::min(most_summed, width - begin) / block * block;
            sum += static_cast<std::int64_t>(dot(high + begin, old + begin, count)) * (1 << low_bits);
            sum += dot(low + begin, old + begin, count);
        }
        out[at] = rounded(sum);
    }
}

CLSCLIP_FAST void add_weighted(std::int32_t weight, const std::int16_t* __restrict row, std::size_t count,
                               std::int32_t* __restrict sums) {
    for (std::size_t x = 0; x < count; ++x) {
        sums[x] += weight * row[x];
    }
}

CLSCLIP_FAST void round_all(const std::int32_t* __restrict sums, std::size_t count, std::int16_t* __restrict row) {
    for (std::size_t x = 0; x < count; ++x) {
        row[x] = static_cast<std::int16_t>(std::clamp(sums[x] >> weight_bits, 0, 255));
    }
}

}  // namespace

AlongRows::AlongRows(Filter filter, int old_side, int new_side, int planes)
    : planes_(static_cast<std::size_t>(planes)),
      new_side_(static_cast<std::size_t>(new_side)),
      plane_size_(static_cast<std::size_t>(old_side)) {
    if (old_side == new_side) {
        return;
    }
    const Weights weights = make_weights(filter, old_side, new_side);
    width_ = (weights.width + block - 1) / block * block;
    plane_size_ += width_;  // what lies behind a row is multiplied by weights of 0
    high_.assign(new_side_ * width_, 0);
    low_.assign(new_side_ * width_, 0);
    for (std::size_t at = 0; at < new_side_; ++at) {
        first_.push_back(static_cast<std::size_t>(weights.first[at]));
        for (std::size_t x = 0; x < weights.width; ++x) {
            const std::int32_t weight = weights.weights[at * weights.width + x];
            high_[at * width_ + x] = static_cast<std::int16_t>(weight >> low_bits);
            low_[at * width_ + x] = static_cast<std::int16_t>(weight & ((1 << low_bits) - 1));
        }
    }
}

void AlongRows::operator()(const std::int16_t* row, std::int16_t* out) const {
    for (std::size_t plane = 0; plane < planes_; ++plane, row += plane_size_, out += new_side_) {
        if (first_.empty()) {
            std::copy_n(row, new_side_, out);
        } else {
            shrink(row, first_.data(), high_.data(), low_.data(), width_, new_side_, out);
        }
    }
}

AcrossRows::AcrossRows(Filter filter, int old_side, int new_side, std::size_t row_size, Emit emit)
    : row_size_(row_size), emit_(std::move(emit)) {
    if (old_side != new_side) {
        weights_ = make_weights(filter, old_side, new_side);
        sums_.assign(static_cast<std::size_t>(new_side) * row_size, half);
        row_.resize(row_size);
    }
}

void AcrossRows::add(const std::int16_t* row) {
    const int own = taken_++;
    const std::size_t rows = weights_.first.size();
    if (rows == 0) {
        emit_(static_cast<std::size_t>(own), row);
        return;
    }
    while (end_ < rows && weights_.first[end_] <= own) {
        ++end_;
    }
    for (std::size_t at = begin_; at < end_; ++at) {
        const std::int32_t weight = weights_.weights[at * weights_.width + static_cast<std::size_t>(own - weights_.first[at])];
        add_weighted(weight, row, row_size_, sums_.data() + at * row_size_);
    }
    for (; begin_ < end_ && end_of(begin_) <= taken_; ++begin_) {
        round_all(sums_.data() + begin_ * row_size_, row_size_, row_.data());
        emit_(begin_, row_.data());
    }
}

}  // namespace clsclip
