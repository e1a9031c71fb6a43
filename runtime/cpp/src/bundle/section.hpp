/// Typed access to one JSON object of the manifest, with errors that name the dotted key.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "json.hpp"

namespace clsclip {

/// One object of manifest.json. Every reader throws BundleError when the key is missing or its value is wrong.
class Section {
public:
    explicit Section(const Json& data, std::string where = {});

    [[nodiscard]] std::string key(std::string_view key) const;
    [[nodiscard]] const Json& data() const noexcept { return *data_; }
    [[nodiscard]] const Json& get(std::string_view key) const;
    /// Whether the key is absent or null.
    [[nodiscard]] bool lacks(std::string_view key) const;

    [[nodiscard]] Section section(std::string_view key) const;
    /// BundleError unless the key is absent, null, or an object.
    void check_object(std::string_view key) const;
    /// The objects of a list of `least` to `most` of them.
    [[nodiscard]] std::vector<Section> objects(std::string_view key, std::size_t least, std::size_t most) const;
    [[nodiscard]] std::string text(std::string_view key) const;
    /// BundleError unless the key is absent, or a text, which may be empty.
    void check_text(std::string_view key) const;
    [[nodiscard]] std::string choice(std::string_view key, const std::vector<std::string_view>& known) const;
    /// Some of the known texts, at least one.
    [[nodiscard]] std::vector<std::string> choices(std::string_view key,
                                                   const std::vector<std::string_view>& known) const;
    [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t low, std::int64_t high) const;
    [[nodiscard]] double number(std::string_view key, double low, double high, bool inclusive) const;
    [[nodiscard]] bool flag(std::string_view key) const;
    [[nodiscard]] std::array<double, 3> channels(std::string_view key, bool positive) const;
    [[nodiscard]] std::vector<std::string> templates(std::string_view key, std::size_t most, std::size_t characters) const;
    [[nodiscard]] std::vector<std::string> class_names(std::string_view key) const;

    /// Throw the BundleError that `key` must be `wanted`.
    [[noreturn]] void bad(std::string_view key, std::string_view wanted, const Json& value) const;

private:
    void check_known(std::string_view key, const std::string& value,
                     const std::vector<std::string_view>& known) const;

    const Json* data_;
    std::string where_;
};

}  // namespace clsclip
