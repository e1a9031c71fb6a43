/// Classes as they are typed on a command line; see the Python runtime's text/typed.py.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace clsclip::tool {

/// What was typed.
struct TypedWords {
    std::vector<std::string> classes;
    std::map<std::string, std::vector<std::string>, std::less<>> prompts;  ///< of classes that have a name of their own
    std::vector<std::string> notes;
};

/// Classes of words: "dog, cat" are two, quotes keep a comma, "helmet = safety helmet | hard hat" is a class of two
/// prompts.
[[nodiscard]] TypedWords typed_words(const std::vector<std::string>& words);

}  // namespace clsclip::tool
