#include "masks/rle.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "errors.hpp"

namespace clsclip {

namespace {

constexpr int kColumns = 64;  ///< that are looked at together, so that memory is read along rows

/// Collects runs of zeros and ones in turns.
class Runs {
public:
    void add(bool value, std::uint32_t count) {
        if (count == 0) {
            return;
        }
        if (value != value_) {
            runs_.push_back(count_);
            count_ = 0;
            value_ = value;
        }
        count_ += count;
    }

    std::vector<std::uint32_t> finish() {
        runs_.push_back(count_);
        return std::move(runs_);
    }

private:
    std::vector<std::uint32_t> runs_;
    std::uint32_t count_ = 0;
    bool value_ = false;
};

/// Rows at which every one of a block's columns changes.
class Block {
public:
    void read(const Mask& mask, int left, int count) {
        for (auto& rows : changes_) {
            rows.clear();
        }
        for (int y = 1; y < mask.height; ++y) {
            const std::uint8_t* above = mask.row(y - 1).data() + left;
            const std::uint8_t* here = mask.row(y).data() + left;
            for (int x = 0; x < count; x += kWord) {
                const int size = std::min(kWord, count - x);
                if (std::memcmp(above + x, here + x, static_cast<std::size_t>(size)) != 0) {
                    note(above + x, here + x, x, size, y);
                }
            }
        }
    }

    [[nodiscard]] const std::vector<int>& changes(int column) const {
        return changes_[static_cast<std::size_t>(column)];
    }

private:
    static constexpr int kWord = 8;

    void note(const std::uint8_t* above, const std::uint8_t* here, int first, int size, int y) {
        for (int x = 0; x < size; ++x) {
            if ((above[x] != 0) != (here[x] != 0)) {
                changes_[static_cast<std::size_t>(first + x)].push_back(y);
            }
        }
    }

    std::array<std::vector<int>, kColumns> changes_;
};

}  // namespace

std::vector<std::uint32_t> runs_of(const Mask& mask, int left, int top, int width, int height) {
    Runs runs;
    const auto blank = [&](std::int64_t count) { runs.add(false, static_cast<std::uint32_t>(count)); };
    const std::int64_t tall = height;
    blank(left * tall);
    Block block;
    for (int first = 0; first < mask.width && mask.height > 0; first += kColumns) {
        const int count = std::min(kColumns, mask.width - first);
        block.read(mask, first, count);
        for (int x = 0; x < count; ++x) {
            blank(top);
            bool value = mask.row(0)[static_cast<std::size_t>(first + x)] != 0;
            int from = 0;
            for (const int y : block.changes(x)) {
                runs.add(value, static_cast<std::uint32_t>(y - from));
                value = !value;
                from = y;
            }
            runs.add(value, static_cast<std::uint32_t>(mask.height - from));
            blank(tall - top - mask.height);
        }
    }
    blank((width - left - mask.width) * tall);
    return runs.finish();
}

std::vector<std::uint32_t> runs_of(const Mask& mask) { return runs_of(mask, 0, 0, mask.width, mask.height); }

std::string compress_runs(const std::vector<std::uint32_t>& runs) {
    std::string text;
    for (std::size_t at = 0; at < runs.size(); ++at) {
        // From the third on, the difference to the run of the same kind before.
        std::int64_t value = runs[at];
        if (at > 2) {
            value -= runs[at - 2];
        }
        for (bool more = true; more;) {
            auto five = static_cast<int>(value & 31);
            value >>= 5;
            more = (five & 16) != 0 ? value != -1 : value != 0;
            five |= more ? 32 : 0;
            text += static_cast<char>(five + 48);
        }
    }
    return text;
}

std::vector<std::uint32_t> expand_runs(std::string_view counts) {
    constexpr int most_bits = 35;  // of 32-bit runs and their sign
    std::vector<std::uint32_t> runs;
    for (std::size_t at = 0; at < counts.size();) {
        std::int64_t value = 0;
        int bits = 0;
        for (bool more = true; more; bits += 5) {
            const int five = at < counts.size() ? counts[at++] - 48 : -1;
            if (five < 0 || five > 63 || bits >= most_bits) {
                fail<OptionError>("the counts of an encoded mask are damaged at byte ", at, ". Encode the mask again");
            }
            value |= static_cast<std::int64_t>(five & 31) << bits;
            more = (five & 32) != 0;
            if (!more && (five & 16) != 0) {
                value -= std::int64_t{1} << (bits + 5);
            }
        }
        if (runs.size() > 2) {
            value += runs[runs.size() - 2];
        }
        if (value < 0 || value > UINT32_MAX) {
            fail<OptionError>("the counts of an encoded mask hold a run of ", value, " pixels. Encode the mask again");
        }
        runs.push_back(static_cast<std::uint32_t>(value));
    }
    return runs;
}

std::string encode_rle(const Mask& mask) { return compress_runs(runs_of(mask)); }

Mask decode_rle(const RleMask& rle) {
    const std::vector<std::uint32_t> runs = expand_runs(rle.counts);
    std::uint64_t total = 0;
    for (const std::uint32_t run : runs) {
        total += run;
    }
    const bool sized = rle.width >= 0 && rle.height >= 0;
    if (!sized || total != static_cast<std::uint64_t>(rle.width) * static_cast<std::uint64_t>(rle.height)) {
        fail<OptionError>("an encoded mask has ", total, " pixels, and its size is ", rle.width, "x", rle.height,
                          ". Give the size that it was encoded with");
    }
    Mask mask{rle.width, rle.height, std::vector<std::uint8_t>(static_cast<std::size_t>(total), 0)};
    const auto wide = static_cast<std::size_t>(rle.width);
    const auto tall = static_cast<std::size_t>(rle.height);
    std::size_t at = 0;
    for (std::size_t run = 0; run < runs.size(); ++run) {
        const std::size_t end = at + runs[run];
        for (; run % 2 == 1 && at < end; ++at) {
            mask.pixels[at % tall * wide + at / tall] = 1;
        }
        at = end;
    }
    return mask;
}

}  // namespace clsclip
