#include "inference/queue.hpp"

#include <algorithm>
#include <utility>

#include "errors.hpp"
#include "limits.hpp"

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

/// Number of crops that features are of; 0 where there are none.
std::int64_t rows_of(const Tensors& features) {
    return features.empty() ? 0 : features.begin()->second.shape[0];
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
    std::shared_ptr<const Tensors> features;
    std::span<const std::int64_t> crops;
};

/// The crops that are used, of all parts, and every pair's position among them.
std::pair<std::shared_ptr<const Tensors>, std::vector<std::int64_t>> join_parts(
    const LoadedModel& model, const std::vector<Part>& parts) {
    auto all = std::make_shared<Tensors>();
    std::vector<std::int64_t> index;
    std::int64_t start = 0;
    for (const Part& part : parts) {
        auto [rows, places] = unique_of(part.crops);
        if (parts.size() == 1 && static_cast<std::int64_t>(rows.size()) == rows_of(*part.features)) {
            return {part.features, std::move(places)};  // all of them, as they are: no copy
        }
        for (const auto& [name, array] : *part.features) {
            if (model.trunk_takes(name)) {
                append_rows((*all)[name], array, rows);
            }
        }
        for (const std::int64_t place : places) {
            index.push_back(start + place);
        }
        start += static_cast<std::int64_t>(rows.size());
    }
    return {std::move(all), std::move(index)};
}

}  // namespace

PairQueue::PairQueue(const LoadedModel& model, const EncodedWords& encoded, std::span<const std::string> classes,
                     const Manifest& manifest, const Limits& limits)
    : model_(model), encoded_(encoded), classes_(classes), manifest_(manifest), limits_(limits),
      pairs_per_call_(pairs_per_call(limits, manifest.memory.pair_bytes, model.fast_mb())) {}

void PairQueue::add(const std::shared_ptr<const Tensors>& features, std::vector<std::int64_t> crops,
                    std::vector<std::int64_t> classes) {
    if (crops.empty()) {
        return;
    }
    total_ += crops.size();
    const std::uint64_t bytes = std::uint64_t{4} * static_cast<std::uint64_t>(manifest_.mask.height) *
                                static_cast<std::uint64_t>(manifest_.mask.width) * total_;
    if (bytes > std::uint64_t{limits_.result_mb} << 20) {
        fail<OptionError>("the logits of ", total_, " pairs of a crop and a class would take ", bytes >> 20,
                          " MiB, and results may hold ", limits_.result_mb,
                          " (result_mb). Ask fewer classes at a time, or let fewer through: max_classes = 10, or raise "
                          "result_mb");
    }
    auto [used, index] = join_parts(model_, {{features, crops}});  // without crops that nothing is asked of
    count_ += index.size();
    waiting_.push_back({std::move(used), std::move(index), std::move(classes)});
    while (count_ >= pairs_per_call_) {
        call();
    }
}

PairOutputs PairQueue::finish() {
    while (count_ > 0) {
        call();
    }
    return std::exchange(done_, {});
}

void PairQueue::call() {
    std::vector<Part> parts;
    std::vector<std::int64_t> classes;
    std::vector<PairBatch> spent;  // what the parts point into, until the call is over
    while (classes.size() < pairs_per_call_ && !waiting_.empty()) {
        PairBatch& first = waiting_.front();
        const std::size_t taken = std::min(pairs_per_call_ - classes.size(), first.crops.size() - first.done);
        const std::size_t begin = std::exchange(first.done, first.done + taken);
        classes.insert(classes.end(), first.classes.begin() + static_cast<std::ptrdiff_t>(begin),
                       first.classes.begin() + static_cast<std::ptrdiff_t>(begin + taken));
        parts.push_back({first.features, std::span<const std::int64_t>(first.crops).subspan(begin, taken)});
        if (first.done == first.crops.size()) {
            spent.push_back(std::move(first));  // its vectors keep their memory
            waiting_.pop_front();
        }
    }
    count_ -= classes.size();
    const auto [features, crop_index] = join_parts(model_, parts);
    const auto [asked, class_index] = unique_of(classes);
    Tensors text;
    for (const auto& [name, array] : encoded_.arrays) {
        if (model_.trunk_takes(name)) {
            append_rows(text[name], array, asked);
        }
    }
    std::vector<std::string_view> names;
    for (const std::int64_t one : classes) {
        names.push_back(classes_[static_cast<std::size_t>(one)]);
    }
    const TrunkOutput made = model_.trunk(*features, text, crop_index, class_index, names);
    done_.logits.insert(done_.logits.end(), made.logits.values.begin(), made.logits.values.end());
    done_.presence.insert(done_.presence.end(), made.presence.begin(), made.presence.end());
}

}  // namespace clsclip
