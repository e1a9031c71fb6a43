#include <fstream>
#include <iterator>

#include "images/resize.hpp"
#include "parts.hpp"
#include "picture.hpp"

namespace clsclip::parts {

Picture read_picture(const Json& question) {
    static const std::map<std::string, PixelFormat> formats{{"rgb", PixelFormat::rgb},
                                                            {"bgr", PixelFormat::bgr},
                                                            {"rgba", PixelFormat::rgba},
                                                            {"bgra", PixelFormat::bgra},
                                                            {"gray", PixelFormat::gray}};
    Picture picture;
    std::ifstream file(question.at("file").get<std::string>(), std::ios::binary);
    picture.bytes.assign(std::istreambuf_iterator<char>(file), {});
    const auto stride = question.at("stride").get<std::ptrdiff_t>();
    const auto height = question.at("height").get<int>();
    const std::uint8_t* first = picture.bytes.data() + (stride < 0 ? -stride * (height - 1) : 0);
    picture.view = {first, question.at("width").get<int>(), height, stride, formats.at(question.at("format"))};
    const auto corners = question.value("window", std::vector<int>{0, 0, picture.view.width, height});
    picture.window = {corners.at(0), corners.at(1), corners.at(2), corners.at(3)};
    return picture;
}

void add_images(Answers& answers) {
    answers["resize"] = [](const Json& question) -> Json {
        const Picture picture = read_picture(question);
        return resize(picture.view, picture.window, question.at("to").at(0), question.at("to").at(1),
                      filter_of(question.at("filter").get<std::string>()));
    };
    answers["preprocess"] = [](const Json& question) -> Json {
        const Picture picture = read_picture(question);
        ImageSpec spec;
        spec.size = question.at("size").get<int>();
        spec.mean = question.at("mean").get<std::array<double, 3>>();
        spec.std = question.at("std").get<std::array<double, 3>>();
        spec.interpolation = question.at("filter").get<std::string>();
        std::vector<float> pixels(3 * static_cast<std::size_t>(spec.size) * static_cast<std::size_t>(spec.size));
        preprocess(picture.view, picture.window, spec, pixels.data());
        return pixels;
    };
}

}  // namespace clsclip::parts
