#include <array>
#include <cmath>

#include "clsclip/clsclip.hpp"
#include "detectors/detections.hpp"
#include "detectors/letterbox.hpp"
#include "text/matching.hpp"
#include "parts.hpp"
#include "picture.hpp"

namespace clsclip::parts {

namespace {

DetectorSpec spec_of(const Json& data) {
    DetectorSpec spec;
    spec.output_format = data.at("output_format").get<std::string>();
    spec.names = data.at("names").get<std::vector<std::string>>();
    spec.height = data.at("height").get<int>();
    spec.width = data.at("width").get<int>();
    spec.channel_order = data.at("channel_order").get<std::string>();
    spec.input_scale = data.at("input_scale").get<double>();
    spec.letterbox = data.at("letterbox").get<std::string>();
    return spec;
}

Json as_json(const Box& box) { return {box.left, box.top, box.right, box.bottom}; }

/// JSON has no infinity: tests write it as a text.
std::vector<float> numbers(const Json& data) {
    static const std::map<std::string, float> special{{"nan", NAN}, {"inf", INFINITY}, {"-inf", -INFINITY}};
    std::vector<float> values;
    for (const auto& one : data) {
        values.push_back(one.is_string() ? special.at(one) : one.get<float>());
    }
    return values;
}

Json detect(const Json& question) {
    const DetectorSpec spec = spec_of(question.at("spec"));
    std::vector<std::vector<float>> memory;
    std::vector<DetectorOutput> outputs;
    for (const auto& one : question.at("outputs")) {
        memory.push_back(numbers(one.at("values")));
    }
    for (std::size_t at = 0; at < memory.size(); ++at) {
        outputs.push_back({question.at("outputs").at(at).at("shape").get<std::vector<std::int64_t>>(), memory[at]});
    }
    const auto& places = question.at("placed");
    const auto found = read_candidates(spec, outputs, places.size());
    const DetectorLimits limits{question.at("confidence"), question.at("iou"), question.at("most")};
    Json all = Json::array();
    for (std::size_t at = 0; at < found.size(); ++at) {
        const auto& one = places.at(at);
        const Placed placed{one.at(0), one.at(1), one.at(2), one.at(3), one.at(4), one.at(5)};
        const Detections chosen = choose(spec, found[at], placed, limits);
        Json boxes = Json::array();
        for (const Box& box : chosen.boxes) {
            boxes.push_back(as_json(box));
        }
        all.push_back({{"boxes", boxes}, {"classes", chosen.classes}, {"scores", chosen.scores}, {"notes", chosen.notes}});
    }
    return all;
}

Json match(const Json& question) {
    const auto words = question.at("words").get<std::vector<std::string>>();
    const auto names = question.at("names").get<std::vector<std::string>>();
    EncodeWords encode;
    if (question.contains("features")) {
        encode = [&](std::span<const std::string> asked) {
            std::vector<float> all;
            for (const std::string& word : asked) {
                const auto own = question.at("features").at(word).get<std::vector<float>>();
                all.insert(all.end(), own.begin(), own.end());
            }
            return all;
        };
    }
    Json all = Json::array();
    for (const NameMatch& one : match_words(words, names, encode, {}, question.value("threshold", kNearest))) {
        const Json similarity = one.similarity ? Json(*one.similarity) : Json();
        all.push_back({{"classes", one.classes}, {"how", one.how}, {"similarity", similarity}});
    }
    return all;
}

}  // namespace

void add_detectors(Answers& answers) {
    answers["detect"] = detect;
    answers["match"] = match;
    answers["is_class_agnostic"] = [](const Json& question) -> Json {
        return is_class_agnostic(question.at("names").get<std::vector<std::string>>());
    };
    answers["letterbox"] = [](const Json& question) -> Json {
        const Picture picture = read_picture(question);
        const DetectorSpec spec = spec_of(question.at("spec"));
        std::vector<float> values(3 * static_cast<std::size_t>(spec.height) * static_cast<std::size_t>(spec.width));
        const Placed placed = letterbox(picture.view, spec, values.data());
        return {{"values", values},
                {"placed", {placed.scale_x, placed.scale_y, placed.left, placed.top, placed.width, placed.height}}};
    };
}

}  // namespace clsclip::parts
