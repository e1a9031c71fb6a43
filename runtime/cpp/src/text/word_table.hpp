/// Words that were encoded at export time: text_tokens.safetensors of a bundle.
///
/// One tensor (N, ...) of float32 for each text feature, by its name, and the N words as a JSON list in the metadata. There, `truncated`
/// may list those of them whose end was cut off.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bundle/manifest.hpp"
#include "json.hpp"
#include "file_bytes.hpp"
#include "text/encoded.hpp"

namespace clsclip {

/// The words of a file, which stays in memory. Safe to share between threads.
class WordTable {
public:
    /// `path` is for messages. BundleError: the file is damaged, or has other tensors than `features`.
    WordTable(const std::filesystem::path& path, std::shared_ptr<const FileBytes> file,
              const std::vector<FeatureSpec>& features);

    [[nodiscard]] const std::vector<std::string>& words() const noexcept { return words_; }
    [[nodiscard]] bool has(const std::string& word) const { return rows_.contains(word); }
    /// The features of a word; none if it is not here.
    [[nodiscard]] std::optional<EncodedWord> find(const std::string& word) const;

private:
    void read_words(const Json& metadata);
    /// Throw if values are not finite, or not of unit length where they must be.
    void check_values(const FeatureSpec& feature) const;

    struct Column {
        std::string name;
        std::size_t offset = 0;  ///< of the first word's values in the file
        std::size_t values = 0;  ///< of one word
    };

    std::shared_ptr<const FileBytes> file_;
    std::vector<std::string> words_;
    std::unordered_map<std::string, std::size_t> rows_;
    std::vector<bool> truncated_;
    std::vector<Column> columns_;
};

}  // namespace clsclip
