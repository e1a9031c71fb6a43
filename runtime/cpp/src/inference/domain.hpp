/// Whether an image is far from what a model knows, by a line through its own features that the bundle's author drew.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "bundle/manifest.hpp"
#include "graph.hpp"

namespace clsclip {

/// One feature's part in the line's value: `feature` holds places x d values, and `weights` are 2 d, of the mean and of the
/// standard deviation over the places.
[[nodiscard]] double domain_part(std::span<const float> feature, std::span<const double> weights);

/// Whether one whole image looks unlike all that the model was trained on. `row` is which of the crops in `features`.
[[nodiscard]] bool is_far(const DomainSpec& domain, const Tensors& features, std::size_t row);

/// What the user is told of an image that is far.
[[nodiscard]] std::string domain_note(const DomainSpec& domain);

}  // namespace clsclip
