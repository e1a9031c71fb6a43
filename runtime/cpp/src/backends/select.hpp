/// Choosing a backend.
#pragma once

#include <memory>
#include <string_view>

#include "backends/tensorrt/place.hpp"
#include "graph.hpp"

namespace clsclip {

/// The backend called `name`; `threads` of one call, 0 lets it decide; engines of TensorRT are at `place`. OptionError: this build has none of that name.
/// BackendError: it does not work here.
[[nodiscard]] std::unique_ptr<Backend> make_backend(std::string_view name, int threads, const EnginePlace& place);

}  // namespace clsclip
