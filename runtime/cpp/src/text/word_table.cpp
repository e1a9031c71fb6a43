#include "text/word_table.hpp"

#include <cmath>
#include <cstring>
#include <utility>

#include "errors.hpp"
#include "json.hpp"
#include "text/words.hpp"
#include "unicode/names.hpp"

namespace clsclip {

namespace {

constexpr double kNormError = 1e-3;   ///< largest error of a vector's unit length
constexpr std::uint64_t kMostHeader = std::uint64_t{1} << 25;
constexpr std::size_t kPrefix = 8;  ///< bytes of the header's length

/// Header of a safetensors file: what its tensors are, as JSON.
Json read_header(std::span<const std::uint8_t> bytes) {
    std::uint64_t size = 0;
    for (std::size_t at = 0; at < kPrefix; ++at) {
        size |= bytes.size() < kPrefix ? 0 : std::uint64_t{bytes[at]} << (8 * at);
    }
    if (bytes.size() < kPrefix || size > bytes.size() - kPrefix) {
        throw std::runtime_error("its header is cut off");
    }
    if (size > kMostHeader) {
        throw std::runtime_error(text_of("it has ", size, " bytes, and at most ", kMostHeader, " are read"));
    }
    return parse_json({reinterpret_cast<const char*>(bytes.data()) + kPrefix, static_cast<std::size_t>(size)});
}

/// Where a tensor's values begin in the data behind the header.
std::size_t offset_of(const Json& entry, const Shape& shape, std::size_t data_bytes) {
    const auto offsets = entry.at("data_offsets").get<std::vector<std::uint64_t>>();
    const std::uint64_t bytes = count_of(shape) * sizeof(float);
    if (entry.at("dtype") != "F32" || entry.at("shape") != Json(shape)) {
        throw std::runtime_error("it must be F32 of shape " + text_of_shape(shape));
    }
    if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data_bytes || offsets[1] - offsets[0] != bytes) {
        throw std::runtime_error("its values are not where the header says");
    }
    return static_cast<std::size_t>(offsets[0]);
}

}  // namespace

WordTable::WordTable(const std::filesystem::path& path, std::shared_ptr<const FileBytes> file,
                     const std::vector<FeatureSpec>& features)
    : file_(std::move(file)) {
    std::string part = "the header";
    try {
        const Json header = read_header(file_->bytes());
        std::uint64_t size = 0;
        std::memcpy(&size, file_->bytes().data(), kPrefix);
        const std::size_t begin = kPrefix + static_cast<std::size_t>(size);
        part = "the list of words";
        read_words(header.at("__metadata__"));
        for (const FeatureSpec& one : features) {
            part = one.name;
            const Shape shape = one.with_rows(static_cast<std::int64_t>(words_.size()));
            columns_.push_back(
                {one.name, begin + offset_of(header.at(one.name), shape, file_->bytes().size() - begin), one.values()});
            check_values(one);
        }
    } catch (const std::exception& error) {
        fail<BundleError>(path, " is damaged (", part, ": ", one_line(ascii_reason(error), 200),
                          "). Get the bundle again, or export it again with clsclip-export");
    }
}

void WordTable::read_words(const Json& metadata) {
    if (metadata.at("schema_version") != "2") {
        throw std::runtime_error("its schema_version is not 2: upgrade clsclip");
    }
    const auto list = [&](const char* key) {
        return parse_json(metadata.at(key).get_ref<const std::string&>()).get<std::vector<std::string>>();
    };
    words_ = list("words");
    if (words_.empty()) {
        throw std::runtime_error("there is no word");
    }
    for (std::size_t row = 0; row < words_.size(); ++row) {
        if (clean_word(words_[row]) != words_[row] || !rows_.emplace(words_[row], row).second) {
            throw std::runtime_error("the word " + shown(words_[row]) + " is not clean, or comes twice");
        }
    }
    truncated_.assign(words_.size(), false);
    if (metadata.contains("truncated")) {
        for (const std::string& word : list("truncated")) {
            if (!has(word)) {
                throw std::runtime_error("a word that was cut off is not among the words");
            }
            truncated_[rows_.at(word)] = true;
        }
    }
}

void WordTable::check_values(const FeatureSpec& feature) const {
    for (const std::string& word : words_) {
        const std::vector<float> values = find(word)->features.at(feature.name);
        if (!all_finite(values)) {
            throw std::runtime_error("NaN or infinity for the word " + shown(word));
        }
        double squares = 0;
        for (const float value : values) {
            squares += static_cast<double>(value) * value;
        }
        const double length = std::sqrt(squares);  // words without any meaning have none
        if (feature.unit_norm && length > kNormError && std::abs(length - 1) > kNormError) {
            throw std::runtime_error("not of unit length for the word " + shown(word));
        }
    }
}

std::optional<EncodedWord> WordTable::find(const std::string& word) const {
    const auto found = rows_.find(word);
    if (found == rows_.end()) {
        return std::nullopt;
    }
    EncodedWord encoded;
    encoded.truncated = truncated_[found->second];
    for (const Column& column : columns_) {
        std::vector<float>& values = encoded.features[column.name];
        values.resize(column.values);
        const std::size_t bytes = column.values * sizeof(float);
        // Not aligned, perhaps.
        std::memcpy(values.data(), file_->bytes().data() + column.offset + found->second * bytes, bytes);
    }
    return encoded;
}

}  // namespace clsclip
