/// What whole numbers are divided by: the processor ends a program that divides one by zero, or the lowest one by -1.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bundle/onnx_walk.hpp"

namespace clsclip {

/// Follows a graph node by node. A divisor is a constant above zero, or the size of a Split's part, which the file states
/// too: so exporters of detectors write the number of classes.
class Divisions {
public:
    /// Few whole numbers of constants, by name.
    using Known = std::map<std::string, std::vector<std::int64_t>>;

    /// Known may grow while the graph is followed.
    explicit Divisions(const Known& known) : known_(known) {}

    /// Check a node of whole numbers. UnknownGraphError: it divides by something else.
    void check(const OnnxNode& node) const;
    /// Take in what a node says of sizes.
    void note(const OnnxNode& node);

private:
    using Axis = std::pair<std::int64_t, std::int64_t>;  ///< a rank, and an axis that is not empty

    void note_parts(const OnnxNode& node);
    void note_size(const OnnxNode& node);
    [[nodiscard]] std::vector<std::int64_t> known_of(const std::string& name) const;

    const Known& known_;
    std::map<std::string, std::int64_t> ranks_;
    std::map<std::string, Axis> filled_, shapes_;  ///< by values, and by their shapes
    std::set<std::string> positive_;
};

}  // namespace clsclip
