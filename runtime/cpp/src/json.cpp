#include "json.hpp"

#include <utility>
#include <vector>

namespace clsclip {

namespace {

/// Builds a document from its parts as they come, in time that grows with its length alone.
class Builder final : public nlohmann::json_sax<Json> {
public:
    explicit Builder(std::size_t most_values) : most_values_(most_values) {}

    Json take() { return std::move(root_); }

    bool null() override { return add(nullptr); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(number_integer_t value) override { return add(value); }
    bool number_unsigned(number_unsigned_t value) override { return add(value); }

    bool number_float(number_float_t value, const string_t& digits) override {
        // Whole numbers that 64 bits do not hold come as floating-point numbers, rounded.
        if (digits.find_first_of(".eE") == string_t::npos) {
            refuse("the number " + digits.substr(0, 24) + " is too large for 64 bits");
        }
        return add(value);
    }

    bool string(string_t& value) override { return add(std::move(value)); }
    bool binary(binary_t& /*value*/) override { return false; }

    bool start_object(std::size_t /*unknown*/) override { return open(Json::object()); }
    bool start_array(std::size_t /*unknown*/) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(string_t& name) override {
        auto& members = open_.back()->get_ref<Json::object_t&>();
        const auto [place, is_new] = members.emplace(std::move(name), nullptr);
        if (!is_new) {
            refuse("a key comes twice in one object: " + place->first.substr(0, 40));
        }
        member_ = &place->second;
        return true;
    }

    bool parse_error(std::size_t /*at*/, const std::string& /*token*/, const nlohmann::detail::exception& error) override {
        if (const auto* syntax = dynamic_cast<const Json::parse_error*>(&error)) {
            throw *syntax;
        }
        refuse(error.what());
    }

private:
    [[noreturn]] static void refuse(const std::string& reason) { throw Json::out_of_range::create(408, reason, nullptr); }

    bool add(Json value) {
        (void)put(std::move(value));
        return true;
    }

    /// Put a value where it belongs, and say where that is: places stay while what is in them is open.
    Json* put(Json value) {
        if (++values_ > most_values_) {
            refuse("it holds more than " + std::to_string(most_values_) + " values");
        }
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        if (open_.back()->is_array()) {
            auto& items = open_.back()->get_ref<Json::array_t&>();
            items.push_back(std::move(value));
            return &items.back();
        }
        *member_ = std::move(value);
        return member_;
    }

    bool open(Json empty) {
        if (open_.size() >= kMostJsonDepth) {
            refuse("it is nested more than " + std::to_string(kMostJsonDepth) + " deep");
        }
        open_.push_back(put(std::move(empty)));
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    Json root_;
    std::vector<Json*> open_;
    Json* member_ = nullptr;
    std::size_t values_ = 0, most_values_;
};

}  // namespace

Json parse_json(std::string_view document, std::size_t most_values) {
    // The parser takes it for the end.
    if (const std::size_t at = document.find('\0'); at != std::string_view::npos) {
        throw Json::out_of_range::create(408, "it has a NUL byte at " + std::to_string(at), nullptr);
    }
    Builder builder(most_values);
    Json::sax_parse(document.begin(), document.end(), &builder);
    return builder.take();
}

std::string ascii_reason(const std::exception& error) {
    std::string text = error.what();
    // The library's name for the error says nothing to whoever reads it.
    if (const std::size_t end = text.find("] "); text.starts_with("[json.exception.") && end != std::string::npos) {
        text.erase(0, end + 2);
    }
    for (char& one : text) {
        one = static_cast<unsigned char>(one) < 0x80 ? one : '?';
    }
    return text;
}

}  // namespace clsclip
