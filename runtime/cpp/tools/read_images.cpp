/// clsclip-read-images FOLDER FILE...: what the reader of pictures makes of files, for tests.
///
/// A line of JSON for each file: its size, format and notes, or its error. The pixels go to FOLDER/0, FOLDER/1, ...
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "decoded_image.hpp"

int main(int count, char** values) {
    const std::filesystem::path folder = count > 1 ? values[1] : ".";
    for (int at = 2; at < count; ++at) {
        nlohmann::json line{{"file", values[at]}};
        try {
            const clsclip::tool::DecodedImage image = clsclip::tool::read_image(values[at]);
            std::ofstream file(folder / std::to_string(at - 2), std::ios::binary);
            file.write(reinterpret_cast<const char*>(image.pixels.data()),
                       static_cast<std::streamsize>(image.pixels.size()));
            line["size"] = {image.width, image.height};
            line["channels"] = clsclip::bytes_per_pixel(image.format);
            line["notes"] = image.notes;
        } catch (const clsclip::ImageError& error) {
            line["error"] = error.what();
        }
        std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
    }
    return 0;
}
