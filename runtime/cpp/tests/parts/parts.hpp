/// Questions to parts of the library: a JSON object with "do" and arguments, answered by any JSON.
#pragma once

#include <functional>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace clsclip::parts {

using Json = nlohmann::json;
using Answers = std::map<std::string, std::function<Json(const Json& question)>>;

void add_bundles(Answers& answers);
void add_images(Answers& answers);
void add_text(Answers& answers);
void add_masks(Answers& answers);
void add_detectors(Answers& answers);

}  // namespace clsclip::parts
