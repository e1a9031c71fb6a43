#include "bundle/section.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "errors.hpp"
#include "shared_data.hpp"
#include "unicode/names.hpp"

namespace clsclip {

namespace {

constexpr std::size_t kMostClasses = 65536;
constexpr std::size_t kMostNameCharacters = 256;

[[noreturn]] void bad_value(std::string_view key, std::string_view wanted, const Json& value) {
    std::string shown = value.dump(-1, ' ', true, Json::error_handler_t::replace);
    if (shown.size() > 60) {
        shown = shown.substr(0, 57) + "...";
    }
    fail<BundleError>("'", key, "' in manifest.json must be ", wanted, ", and it is ", shown,
                      ". Export the bundle again with clsclip-export");
}

bool is_finite_number(const Json& value) {
    return value.is_number() && std::isfinite(value.get<double>());
}

/// `{}` once, where the word goes.
bool is_template(const Json& value) {
    if (!value.is_string()) {
        return false;
    }
    const auto& text = value.get_ref<const std::string&>();
    const std::size_t first = text.find("{}");
    return first != std::string::npos && text.find("{}", first + 2) == std::string::npos;
}

/// Characters of a text in UTF-8.
std::size_t characters_of(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char one) { return (static_cast<unsigned char>(one) & 0xC0) != 0x80; }));
}

/// Of any text.
std::size_t most_characters() {
    return formats().at("limits").at("text_characters").get<std::size_t>();
}

}  // namespace

Section::Section(const Json& data, std::string where) : data_(&data), where_(std::move(where)) {
    if (!data.is_object()) {
        bad_value(where_.empty() ? "the manifest" : where_, "an object", data);
    }
}

std::string Section::key(std::string_view key) const {
    return where_.empty() ? std::string(key) : text_of(where_, ".", key);
}

const Json& Section::get(std::string_view key) const {
    const auto found = data_->find(key);
    if (found == data_->end()) {
        fail<BundleError>("manifest.json lacks the required key '", this->key(key),
                          "'. Export the bundle again with clsclip-export");
    }
    return *found;
}

bool Section::lacks(std::string_view key) const {
    const auto found = data_->find(key);
    return found == data_->end() || found->is_null();
}

Section Section::section(std::string_view key) const {
    return Section(get(key), this->key(key));
}

void Section::check_object(std::string_view key) const {
    if (!lacks(key)) {
        (void)section(key);
    }
}

std::vector<Section> Section::objects(std::string_view key, std::size_t least, std::size_t most) const {
    const Json& value = get(key);
    if (!value.is_array() || value.size() < least || value.size() > most) {
        bad(key, text_of("a list of ", least, " to ", most, " objects"), value);
    }
    std::vector<Section> sections;
    for (std::size_t at = 0; at < value.size(); ++at) {
        sections.emplace_back(value[at], text_of(this->key(key), "[", at, "]"));
    }
    return sections;
}

void Section::check_text(std::string_view key) const {
    const auto found = data_->find(key);
    const std::size_t most = most_characters();
    if (found != data_->end() &&
        (!found->is_string() || characters_of(found->get_ref<const std::string&>()) > most)) {
        bad(key, text_of("a text of at most ", most, " characters"), *found);
    }
}

std::string Section::text(std::string_view key) const {
    const Json& value = get(key);
    if (!value.is_string() || is_blank(value.get_ref<const std::string&>())) {
        bad(key, "a text that is not empty", value);
    }
    const std::size_t most = most_characters();
    if (characters_of(value.get_ref<const std::string&>()) > most) {
        bad(key, text_of("a text of at most ", most, " characters"), value);
    }
    return value.get<std::string>();
}

std::string Section::choice(std::string_view key, const std::vector<std::string_view>& known) const {
    std::string value = text(key);
    check_known(key, value, known);
    return value;
}

std::vector<std::string> Section::choices(std::string_view key, const std::vector<std::string_view>& known) const {
    const Json& value = get(key);
    const bool texts =
        value.is_array() && std::all_of(value.begin(), value.end(), [](const Json& one) { return one.is_string(); });
    if (!texts || value.empty()) {
        bad(key, "a list of at least one text", value);
    }
    for (const Json& one : value) {
        check_known(key, one.get<std::string>(), known);
    }
    return value.get<std::vector<std::string>>();
}

void Section::check_known(std::string_view key, const std::string& value,
                          const std::vector<std::string_view>& known) const {
    if (std::find(known.begin(), known.end(), value) == known.end()) {
        fail<BundleError>("manifest.json asks for ", this->key(key), " = ", shown(value),
                          "; this version of clsclip knows ", joined(known),
                          ". Upgrade clsclip, or export the bundle again");
    }
}

std::int64_t Section::integer(std::string_view key, std::int64_t low, std::int64_t high) const {
    const Json& value = get(key);
    const bool fits = value.is_number_unsigned() ? std::cmp_less_equal(value.get<std::uint64_t>(), high) &&
                                                       std::cmp_greater_equal(value.get<std::uint64_t>(), low)
                                                 : value.is_number_integer() && value.get<std::int64_t>() >= low &&
                                                       value.get<std::int64_t>() <= high;
    if (!fits) {
        bad(key, text_of("a whole number from ", low, " to ", high), value);
    }
    return value.get<std::int64_t>();
}

double Section::number(std::string_view key, double low, double high, bool inclusive) const {
    const Json& value = get(key);
    if (is_finite_number(value)) {
        const double number = value.get<double>();
        if (inclusive ? low <= number && number <= high : low < number && number < high) {
            return number;
        }
    }
    bad(key, text_of("a number ", inclusive ? "from " : "strictly between ", low, inclusive ? " to " : " and ", high),
        value);
}

bool Section::flag(std::string_view key) const {
    const Json& value = get(key);
    if (!value.is_boolean()) {
        bad(key, "true or false", value);
    }
    return value.get<bool>();
}

std::array<double, 3> Section::channels(std::string_view key, bool positive) const {
    const Json& value = get(key);
    const auto fits = [positive](const Json& one) {
        return is_finite_number(one) && (!positive || one.get<double>() > 0);
    };
    if (!value.is_array() || value.size() != 3 || !std::all_of(value.begin(), value.end(), fits)) {
        bad(key, positive ? "three positive numbers" : "three numbers", value);
    }
    return {value[0].get<double>(), value[1].get<double>(), value[2].get<double>()};
}

std::vector<std::string> Section::templates(std::string_view key, std::size_t most, std::size_t characters) const {
    const Json& value = get(key);
    if (!value.is_array() || value.empty() || value.size() > most) {
        bad(key, text_of("a list of 1 to ", most, " templates"), value);
    }
    for (const Json& one : value) {
        if (!is_template(one) || characters_of(one.get_ref<const std::string&>()) > characters) {
            bad(key, text_of("templates of up to ", characters, " characters that hold {} once, where the word goes"), one);
        }
    }
    return value.get<std::vector<std::string>>();
}

std::vector<std::string> Section::class_names(std::string_view key) const {
    const Json& value = get(key);
    if (!value.is_array() || value.empty() || value.size() > kMostClasses) {
        bad(key, text_of("a list of 1 to ", kMostClasses, " names"), value);
    }
    for (const Json& one : value) {
        const bool fine = one.is_string() && is_name(one.get_ref<const std::string&>(), kMostNameCharacters);
        if (!fine) {
            bad(key, text_of("names of up to ", kMostNameCharacters, " characters without line breaks"), one);
        }
    }
    return value.get<std::vector<std::string>>();
}

void Section::bad(std::string_view key, std::string_view wanted, const Json& value) const {
    bad_value(this->key(key), wanted, value);
}

}  // namespace clsclip
