#include "decoded_image.hpp"

#include <jpeglib.h>
#include <png.h>

#include <csetjmp>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace clsclip::tool {

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes read_file(const std::filesystem::path& path) {
    if (!std::filesystem::exists(path)) {
        throw ImageError("no such file: " + path.string());
    }
    if (std::filesystem::is_directory(path)) {
        throw ImageError(path.string() + " is a folder. Give a picture file");
    }
    std::ifstream file(path, std::ios::binary);
    Bytes bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (!file && !file.eof()) {
        throw ImageError("cannot read " + path.string());
    }
    if (bytes.empty()) {
        throw ImageError(path.string() + " is empty (0 bytes)");
    }
    return bytes;
}

[[noreturn]] void fail_damaged(const std::string& name, const std::string& reason) {
    throw ImageError(name + " is damaged or incomplete: " + reason + ". Get the file again");
}

void check_size(std::int64_t width, std::int64_t height, std::int64_t most, const std::string& name) {
    if (width < 1 || height < 1 || width * height > most) {
        throw ImageError(name + " is " + std::to_string(width) + "x" + std::to_string(height) +
                         " pixels, and the limit is " + std::to_string(most) + ". Shrink it");
    }
}

/// libjpeg jumps out of its functions where it fails; nothing that needs a destructor lives between.
struct JpegErrors {
    jpeg_error_mgr base;
    std::jmp_buf jump;
    char reason[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_jpeg_error(j_common_ptr info) {
    auto* errors = reinterpret_cast<JpegErrors*>(info->err);
    info->err->format_message(info, errors->reason);
    std::longjmp(errors->jump, 1);
}

void on_jpeg_warning(j_common_ptr info, int level) {
    if (level < 0) {  // the file is cut off or corrupt, and pixels would be made up
        on_jpeg_error(info);
    }
}

/// Decode in two steps, since the caller gives the memory in between. False when libjpeg failed.
bool begin_jpeg(jpeg_decompress_struct& info, JpegErrors& errors, const Bytes& bytes) {
    if (setjmp(errors.jump) != 0) {
        return false;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes.data(), static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&info, TRUE);
    info.out_color_space = info.jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    return true;
}

bool read_jpeg_rows(jpeg_decompress_struct& info, JpegErrors& errors, std::uint8_t* pixels) {
    if (setjmp(errors.jump) != 0) {
        return false;
    }
    jpeg_start_decompress(&info);
    const std::size_t stride = std::size_t{info.output_width} * static_cast<std::size_t>(info.output_components);
    while (info.output_scanline < info.output_height) {
        JSAMPROW row = pixels + info.output_scanline * stride;
        jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    return true;
}

DecodedImage read_jpeg(const Bytes& bytes, const std::string& name, std::int64_t most) {
    jpeg_decompress_struct info{};
    JpegErrors errors{};
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = on_jpeg_error;
    errors.base.emit_message = on_jpeg_warning;
    const struct Closer {
        jpeg_decompress_struct& info;
        ~Closer() { jpeg_destroy_decompress(&info); }
    } closer{info};
    if (!begin_jpeg(info, errors, bytes)) {
        fail_damaged(name, errors.reason);
    }
    check_size(info.image_width, info.image_height, most, name);
    const bool gray = info.out_color_space == JCS_GRAYSCALE;
    DecodedImage image{static_cast<int>(info.image_width), static_cast<int>(info.image_height),
                    gray ? PixelFormat::gray : PixelFormat::rgb, {}};
    image.pixels.resize(std::size_t{info.image_width} * info.image_height * (gray ? 1 : 3));
    if (!read_jpeg_rows(info, errors, image.pixels.data())) {
        fail_damaged(name, errors.reason);
    }
    return upright(std::move(image), exif_orientation(bytes));
}

DecodedImage read_png(const Bytes& bytes, const std::string& name, std::int64_t most) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    const struct Closer {
        png_image& png;
        ~Closer() { png_image_free(&png); }
    } closer{png};
    if (png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()) == 0) {
        fail_damaged(name, png.message);
    }
    check_size(png.width, png.height, most, name);
    const bool alpha = (png.format & PNG_FORMAT_FLAG_ALPHA) != 0;
    png.format = alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
    DecodedImage image{static_cast<int>(png.width), static_cast<int>(png.height),
                       alpha ? PixelFormat::rgba : PixelFormat::rgb, {}};
    image.pixels.resize(PNG_IMAGE_SIZE(png));
    if (png_image_finish_read(&png, nullptr, image.pixels.data(), 0, nullptr) == 0) {
        fail_damaged(name, png.message);
    }
    return image;
}

/// Unsigned numbers of an EXIF block, in its own byte order; 0 beyond its end.
class Exif {
public:
    explicit Exif(std::span<const std::uint8_t> block) : block_(block), big_(!block.empty() && block[0] == 'M') {}

    [[nodiscard]] std::uint32_t number(std::size_t at, std::size_t bytes) const {
        std::uint32_t value = 0;
        for (std::size_t step = 0; step < bytes; ++step) {
            const std::size_t place = at + (big_ ? step : bytes - 1 - step);
            value = value << 8 | (place < block_.size() ? block_[place] : 0U);
        }
        return value;
    }

private:
    std::span<const std::uint8_t> block_;
    bool big_;
};

}  // namespace

int exif_orientation(std::span<const std::uint8_t> jpeg) {
    for (std::size_t at = 2; at + 4 <= jpeg.size() && jpeg[at] == 0xFF && jpeg[at + 1] != 0xDA;) {
        const std::size_t length = std::size_t{jpeg[at + 2]} << 8 | jpeg[at + 3];
        const auto segment = jpeg.subspan(at + 4, std::min(std::max<std::size_t>(length, 2) - 2, jpeg.size() - at - 4));
        if (jpeg[at + 1] == 0xE1 && segment.size() > 14 && std::memcmp(segment.data(), "Exif\0", 6) == 0) {
            const Exif exif(segment.subspan(6));
            const std::size_t first = exif.number(4, 4);
            const std::uint32_t entries = exif.number(first, 2);
            for (std::uint32_t entry = 0; entry < entries && first + 2 + 12 * entry < segment.size(); ++entry) {
                const std::size_t place = first + 2 + 12 * std::size_t{entry};
                if (exif.number(place, 2) == 0x0112) {
                    const std::uint32_t value = exif.number(place + 8, 2);
                    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
                }
            }
        }
        at += 2 + std::max<std::size_t>(length, 2);
    }
    return 1;
}

DecodedImage upright(DecodedImage image, int orientation) {
    if (orientation == 1) {
        return image;
    }
    const bool turned = orientation >= 5;
    DecodedImage made{turned ? image.height : image.width, turned ? image.width : image.height, image.format, {}};
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

DecodedImage read_image(const std::filesystem::path& path, std::int64_t max_pixels) {
    const Bytes bytes = read_file(path);
    if (bytes.size() > 2 && bytes[0] == 0xFF && bytes[1] == 0xD8) {
        return read_jpeg(bytes, path.string(), max_pixels);
    }
    if (bytes.size() > 8 && std::memcmp(bytes.data(), "\x89PNG\r\n\x1a\n", 8) == 0) {
        return read_png(bytes, path.string(), max_pixels);
    }
    throw ImageError(path.string() + " is no JPEG and no PNG file. Convert it to one of them");
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
