// find_things BUNDLE IMAGE.ppm CLASS...: how many pixels each class has.
#include <clsclip/clsclip.hpp>

#include <fstream>
#include <iostream>

int main(int count, char** values) try {
    if (count < 4) {
        std::cerr << "find_things BUNDLE IMAGE.ppm CLASS...\n";
        return 2;
    }
    std::ifstream file(values[2], std::ios::binary);
    std::string magic;
    int width = 0, height = 0, white = 0;
    if (!(file >> magic >> width >> height >> white) || magic != "P6" || white != 255 || width < 1 || height < 1) {
        throw clsclip::ImageError(std::string(values[2]) + " is no PPM image of 8 bits");
    }
    std::vector<std::uint8_t> pixels(std::size_t{3} * static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
    file.get();  // the line's end before the pixels
    if (!file.read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(pixels.size()))) {
        throw clsclip::ImageError(std::string(values[2]) + " is cut off");
    }

    const auto segmenter = clsclip::Segmenter::load(values[1]);
    const auto result = segmenter({pixels.data(), width, height, std::ptrdiff_t{3} * width}, {values + 3, values + count});
    for (const std::string& name : result.classes()) {
        const auto one = result[name];
        std::cout << name << ": " << clsclip::to_string(one.status) << ", " << one.area << " pixels\n";
    }
} catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
}
