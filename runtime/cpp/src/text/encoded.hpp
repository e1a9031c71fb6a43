/// Words after the text encoder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph.hpp"

namespace clsclip {

/// One word: the values of every text feature, by name.
struct EncodedWord {
    std::map<std::string, std::vector<float>> features;
    bool truncated = false;  ///< its end was cut off
};

/// K words: arrays (K, ...) by name, and the words whose end was cut off.
struct EncodedWords {
    Tensors arrays;
    std::vector<std::string> truncated;
};

}  // namespace clsclip
