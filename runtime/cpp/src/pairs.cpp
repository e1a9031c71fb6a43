#include "pairs.hpp"

#include <algorithm>
#include <utility>

#include "errors.hpp"
#include "memory.hpp"

namespace clsclip {

namespace {

/// Different numbers of a list in ascending order, and where each of the list is among them.
std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>> unique_of(std::span<const std::int64_t> numbers) {
    std::vector<std::int64_t> different(numbers.begin(), numbers.end());
    std::sort(different.begin(), different.end());
    different.erase(std::unique(different.begin(), different.end()), different.end());
    std::vector<std::int64_t> places;
    places.reserve(numbers.size());
    for (const std::int64_t one : numbers) {
        places.push_back(std::lower_bound(different.begin(), different.end(), one) - different.begin());
    }
    return {std::move(different), std::move(places)};
}

/// Add rows of one tensor to another that has the same further axes.
void append_rows(Tensor& to, const Tensor& from, std::span<const std::int64_t> rows) {
    if (to.shape.empty()) {
        to.shape = from.shape;
        to.shape[0] = 0;
    } else if (!std::equal(to.shape.begin() + 1, to.shape.end(), from.shape.begin() + 1, from.shape.end())) {
        fail<BackendError>("image_encoder.onnx gave shapes ", text_of_shape(to.shape), " and ",
                           text_of_shape(from.shape), " for one output. Export the bundle again");
    }
    to.shape[0] += static_cast<std::int64_t>(rows.size());
    for (const std::int64_t row : rows) {
        const auto values = from.row(static_cast<std::size_t>(row));
        to.values.insert(to.values.end(), values.begin(), values.end());
    }
}

/// Pairs of one group of encoded crops that go through a call.
struct Part {
    std::shared_ptr<const Tensors> arrays;
    std::span<const std::int64_t> crops;
};

/// The crops that are used, of all parts, and every pair's position among them.
std::pair<std::shared_ptr<const Tensors>, std::vector<std::int64_t>> join_parts(const std::vector<Part>& parts) {
    auto all = std::make_shared<Tensors>();
    std::vector<std::int64_t> index;
    std::int64_t start = 0;
    for (const Part& part : parts) {
        auto [rows, places] = unique_of(part.crops);
        const std::int64_t own = part.arrays->at("stem_tokens").shape[0];
        if (parts.size() == 1 && static_cast<std::int64_t>(rows.size()) == own) {
            return {part.arrays, std::move(places)};  // all of them, as they are: no copy
        }
        for (const auto& [name, array] : *part.arrays) {
            append_rows((*all)[name], array, rows);
        }
        for (const std::int64_t place : places) {
            index.push_back(start + place);
        }
        start += static_cast<std::int64_t>(rows.size());
    }
    return {std::move(all), std::move(index)};
}

}  // namespace

PairQueue::PairQueue(const Graphs& graphs, const Tensor& text_tokens, std::span<const std::string> words, MaskSpec mask,
                     std::size_t memory_mb, std::size_t most)
    : graphs_(graphs), text_tokens_(text_tokens), words_(words), mask_(mask), memory_mb_(memory_mb), most_(most) {}

void PairQueue::add(const std::shared_ptr<const Tensors>& arrays, std::vector<std::int64_t> crops,
                    std::vector<std::int64_t> words) {
    if (crops.empty()) {
        return;
    }
    auto [used, index] = join_parts({{arrays, crops}});  // without crops that nothing is asked of
    count_ += index.size();
    const std::size_t most = step(*used);
    waiting_.push_back({std::move(used), std::move(index), std::move(words)});
    while (count_ >= most) {
        call(most);
    }
}

std::vector<float> PairQueue::finish() {
    while (count_ > 0) {
        call(step(*waiting_.front().arrays));
    }
    return std::move(logits_);
}

std::size_t PairQueue::step(const Tensors& arrays) const {
    const Shape& stem = arrays.at("stem_tokens").shape;
    const auto size = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
    const std::size_t fit =
        pairs_per_call(memory_mb_, pair_bytes(size(stem[1]), size(stem[2]), size(mask_.height), size(mask_.width)));
    return most_ == 0 ? fit : std::min(fit, most_);
}

void PairQueue::call(std::size_t most) {
    std::vector<Part> parts;
    std::vector<std::int64_t> words;
    std::vector<Waiting> spent;  // what the parts point into, until the call is over
    while (words.size() < most && !waiting_.empty()) {
        Waiting& first = waiting_.front();
        const std::size_t taken = std::min(most - words.size(), first.crops.size() - first.done);
        const std::size_t begin = std::exchange(first.done, first.done + taken);
        words.insert(words.end(), first.words.begin() + static_cast<std::ptrdiff_t>(begin),
                     first.words.begin() + static_cast<std::ptrdiff_t>(begin + taken));
        parts.push_back({first.arrays, std::span<const std::int64_t>(first.crops).subspan(begin, taken)});
        if (first.done == first.crops.size()) {
            spent.push_back(std::move(first));  // its vectors keep their memory
            waiting_.pop_front();
        }
    }
    count_ -= words.size();
    const auto [arrays, crop_index] = join_parts(parts);
    const auto [asked, class_index] = unique_of(words);
    Tensor tokens;
    append_rows(tokens, text_tokens_, asked);
    const Tensor logits = graphs_.trunk(*arrays, tokens, crop_index, class_index);
    for (std::size_t at = 0; at < words.size(); ++at) {
        if (!all_finite(logits.row(at))) {
            fail_not_finite("mask", words_[static_cast<std::size_t>(words[at])]);
        }
    }
    logits_.insert(logits_.end(), logits.values.begin(), logits.values.end());
}

}  // namespace clsclip
