/// How a call searches tiles: by what the bundle's author fitted, or by values of the runtime's own.
#pragma once

#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "inference/request.hpp"

namespace clsclip {

/// Make a call one of tiles: sets its tiles and its filter's threshold in them, and drops its zoom.
///
/// `has_threshold` says whether the caller gave a presence threshold, which counts in tiles too. Sentences for the user
/// are added to the call's notes. OptionError: boxes are asked for as masks, and tiles are none.
void use_tiles(CallRequest& call, const Manifest& manifest, bool has_threshold);

}  // namespace clsclip
