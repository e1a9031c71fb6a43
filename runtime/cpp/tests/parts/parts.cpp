/// Reads one question a line and writes one answer a line: {"answer": ...}, or {"error": kind, "message": text}.
#include "parts.hpp"

#include <iostream>

#include "clsclip/clsclip.hpp"

namespace clsclip::parts {

namespace {

/// The name of an error's class, as Python calls it.
std::string kind_of(const Error& error) {
    const auto is = [&]<class Kind>(const Kind*) { return dynamic_cast<const Kind*>(&error) != nullptr; };
    if (is(static_cast<BundleError*>(nullptr))) { return "BundleError"; }
    if (is(static_cast<ImageError*>(nullptr))) { return "ImageError"; }
    if (is(static_cast<WordError*>(nullptr))) { return "WordError"; }
    if (is(static_cast<OptionError*>(nullptr))) { return "OptionError"; }
    if (is(static_cast<BackendError*>(nullptr))) { return "BackendError"; }
    if (is(static_cast<DetectorError*>(nullptr))) { return "DetectorError"; }
    return "Error";
}

Json ask(const Answers& answers, const std::string& line) {
    const Json question = Json::parse(line);
    try {
        return {{"answer", answers.at(question.at("do").get<std::string>())(question)}};
    } catch (const Error& error) {
        return {{"error", kind_of(error)}, {"message", error.what()}};
    }
}

}  // namespace

}  // namespace clsclip::parts

int main() {
    using namespace clsclip::parts;
    std::ios::sync_with_stdio(false);
    Answers answers;
    add_bundles(answers);
    add_images(answers);
    add_text(answers);
    add_masks(answers);
    add_detectors(answers);
    for (std::string line; std::getline(std::cin, line);) {
        // Messages may quote a user's broken UTF-8.
        std::cout << ask(answers, line).dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
    }
}
