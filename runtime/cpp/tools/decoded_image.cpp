#include "decoded_image.hpp"

#include <png.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <system_error>

#include "image_readers.hpp"

namespace clsclip::tool {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostSide = 65'535;

Bytes read_file(const fs::path& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) {
        throw ImageError("no such file: " + path.string());
    }
    if (error || status.type() == fs::file_type::none) {
        throw ImageError("cannot read " + path.string() + ": " + error.message());
    }
    if (status.type() == fs::file_type::directory) {
        throw ImageError(path.string() + " is a folder. Give a picture file");
    }
    if (status.type() != fs::file_type::regular) {  // a pipe would wait for ever, a device might never end
        throw ImageError(path.string() + " is a pipe or a device, not a file. Give a picture file");
    }
    std::ifstream file(path, std::ios::binary);
    Bytes bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (!file.is_open() || (!file && !file.eof())) {
        throw ImageError("cannot read " + path.string());
    }
    if (bytes.empty()) {
        throw ImageError(path.string() + " is empty (0 bytes)");
    }
    return bytes;
}

bool holds(std::span<const std::uint8_t> bytes, std::string_view text) {
    return std::search(bytes.begin(), bytes.end(), text.begin(), text.end(),
                       [](std::uint8_t one, char other) { return one == static_cast<std::uint8_t>(other); }) !=
           bytes.end();
}

StoredImage read_stored(const Bytes& bytes, const std::string& name, std::int64_t max_pixels) {
    if (bytes.size() > 2 && bytes[0] == 0xFF && bytes[1] == 0xD8) {
        return read_jpeg(bytes, name, max_pixels);
    }
    if (bytes.size() > 26 && std::memcmp(bytes.data(), "\x89PNG\r\n\x1a\n", 8) == 0) {
        return read_png(bytes, name, max_pixels);
    }
    throw ImageError(name + " is no JPEG and no PNG file. Convert it to one of them");
}

}  // namespace

void fail_damaged(const std::string& name, const std::string& reason) {
    throw ImageError(name + " is damaged or incomplete: " + reason + ". Get the file again");
}

void check_size(std::int64_t width, std::int64_t height, std::int64_t most, const std::string& name) {
    const std::string size = std::to_string(width) + "x" + std::to_string(height);
    if (width < 1 || height < 1) {
        throw ImageError(name + " has no pixels (" + size + ")");
    }
    if (width > kMostSide || height > kMostSide) {
        throw ImageError(name + " is " + size + " pixels, and a side may have " + std::to_string(kMostSide) +
                         ". Cut it into several, or shrink it");
    }
    if (width * height > most) {
        throw ImageError(name + " is " + size + " pixels, and the limit is " + std::to_string(most) +
                         ". Shrink it, or raise the limit if you trust it: --max-pixels");
    }
}

void apply_metadata(StoredImage& stored, std::span<const std::uint8_t> profile, std::span<const std::uint8_t> exif,
                    std::string_view xmp) {
    using std::string_view_literals::operator""sv;
    if (!profile.empty() && !holds(profile, "sRGB") && !holds(profile, "\0s\0R\0G\0B"sv)) {
        stored.image.notes.emplace_back("its color profile was ignored");
    }
    const Orientation found = exif_orientation(exif);
    if (!found.readable) {
        stored.image.notes.emplace_back("its EXIF data cannot be read, so its orientation was ignored");
        return;
    }
    const std::uint32_t value = found.value ? *found.value : xmp_orientation(xmp).value_or(1);
    stored.orientation = value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

void note_transparency(DecodedImage& image) {
    if (image.format != PixelFormat::rgba) {
        return;
    }
    for (std::size_t at = 3; at < image.pixels.size(); at += 4) {
        if (image.pixels[at] < 255) {
            image.notes.emplace_back("its transparent parts were taken for white");
            return;
        }
    }
}

DecodedImage upright(DecodedImage image, int orientation) {
    if (orientation == 1) {
        return image;
    }
    const bool turned = orientation >= 5;
    DecodedImage made{turned ? image.height : image.width, turned ? image.width : image.height, image.format, {},
                      std::move(image.notes)};
    made.pixels.resize(image.pixels.size());
    const auto bytes = static_cast<std::size_t>(bytes_per_pixel(image.format));
    const bool mirrored_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool mirrored_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    for (int y = 0; y < made.height; ++y) {
        for (int x = 0; x < made.width; ++x) {
            // Where the new pixel is in the old image.
            int from_x = turned ? y : x, from_y = turned ? x : y;
            from_x = mirrored_x ? image.width - 1 - from_x : from_x;
            from_y = mirrored_y ? image.height - 1 - from_y : from_y;
            const auto place = [bytes](int column, int row, int width) {
                return (static_cast<std::size_t>(row) * static_cast<std::size_t>(width) +
                        static_cast<std::size_t>(column)) * bytes;
            };
            std::memcpy(made.pixels.data() + place(x, y, made.width),
                        image.pixels.data() + place(from_x, from_y, image.width), bytes);
        }
    }
    return made;
}

DecodedImage read_image(const fs::path& path, std::int64_t max_pixels) {
    try {
        StoredImage stored = read_stored(read_file(path), path.string(), max_pixels);
        return upright(std::move(stored.image), stored.orientation);
    } catch (const std::bad_alloc&) {
        throw ImageError(path.string() + " needs more memory than there is. Shrink it, or free memory");
    } catch (const std::length_error&) {
        throw ImageError(path.string() + " needs more memory than there is. Shrink it, or free memory");
    }
}

std::vector<std::uint8_t> png_of(const DecodedImage& image) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    png.width = static_cast<png_uint_32>(image.width);
    png.height = static_cast<png_uint_32>(image.height);
    png.format = image.format == PixelFormat::gray ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
    Bytes bytes(size);
    const int fine = png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr);
    if (fine == 0) {
        throw Error(std::string("cannot make a PNG: ") + png.message);
    }
    bytes.resize(size);
    return bytes;
}

}  // namespace clsclip::tool
