/// PNG: every depth and color type, the same pixels as Pillow's, with notes of what was left out.
#include <png.h>

#include <array>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "image_readers.hpp"

namespace clsclip::tool {

namespace {

/// Longer texts and profiles are passed over.
constexpr png_alloc_size_t kMostChunkBytes = 64 << 20;

struct PngFile {
    const Bytes& bytes;
    std::size_t at = 0;
    std::string reason{};
    bool exif_refused = false;    ///< there is an EXIF block, and libpng found it damaged
    bool pixels_doubted = false;  ///< a checksum of pixels is wrong
};

[[noreturn]] void on_png_error(png_structp png, png_const_charp message) {
    static_cast<PngFile*>(png_get_error_ptr(png))->reason = message;
    png_longjmp(png, 1);
}

void on_png_warning(png_structp png, png_const_charp message) {
    if (std::strstr(message, "eXIf") != nullptr) {
        static_cast<PngFile*>(png_get_error_ptr(png))->exif_refused = true;
    }
    if (std::strstr(message, "CRC error") != nullptr) {
        if (std::strstr(message, "IDAT") == nullptr) {
            png_error(png, message);
        }
        static_cast<PngFile*>(png_get_error_ptr(png))->pixels_doubted = true;
    }
}

void read_png_bytes(png_structp png, png_bytep to, std::size_t count) {
    auto* file = static_cast<PngFile*>(png_get_io_ptr(png));
    if (count > file->bytes.size() - file->at) {
        png_error(png, "the file ends too early");
    }
    std::memcpy(to, file->bytes.data() + file->at, count);
    file->at += count;
}

/// libpng's objects.
struct Png {
    explicit Png(PngFile& file) {
        png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &file, on_png_error, on_png_warning);
        info = png == nullptr ? nullptr : png_create_info_struct(png);
        if (info == nullptr) {
            png_destroy_read_struct(&png, &info, nullptr);
            throw ImageError("there is too little memory to read a PNG file");
        }
    }
    Png(const Png&) = delete;
    Png& operator=(const Png&) = delete;
    ~Png() { png_destroy_read_struct(&png, &info, nullptr); }

    png_structp png = nullptr;
    png_infop info = nullptr;
};

/// libpng jumps out of its functions where it fails; nothing that needs a destructor lives between.
bool begin_png(Png& one, PngFile& file) {
    if (setjmp(png_jmpbuf(one.png)) != 0) {
        return false;
    }
    png_set_read_fn(one.png, &file, read_png_bytes);
    png_set_crc_action(one.png, PNG_CRC_WARN_USE, PNG_CRC_ERROR_QUIT);
    png_set_chunk_malloc_max(one.png, kMostChunkBytes);
    png_set_keep_unknown_chunks(one.png, PNG_HANDLE_CHUNK_ALWAYS, reinterpret_cast<png_const_bytep>("acTL"), 1);
    png_read_info(one.png, one.info);
    png_set_packing(one.png);
    png_set_interlace_handling(one.png);
    png_read_update_info(one.png, one.info);
    return true;
}

bool read_png_rows(Png& one, png_bytepp rows) {
    if (setjmp(png_jmpbuf(one.png)) != 0) {
        return false;
    }
    png_read_image(one.png, rows);
    return true;
}

/// What follows the pixels may be damaged: then it is not there.
void end_png(Png& one) {
    if (setjmp(png_jmpbuf(one.png)) != 0) {
        return;
    }
    png_read_end(one.png, one.info);
}

std::string text_of(const Png& one, const std::string& key) {
    png_textp texts = nullptr;
    const int count = png_get_text(one.png, one.info, &texts, nullptr);
    for (int at = 0; at < count; ++at) {
        if (key == texts[at].key) {
            const std::size_t length = std::max(texts[at].text_length, texts[at].itxt_length);
            return {texts[at].text, length};
        }
    }
    return "";
}

/// An EXIF block as ImageMagick writes it: after three lines, in hexadecimal digits.
Bytes unpacked(const std::string& text) {
    std::size_t at = 0;
    for (int line = 0; line < 3 && at != std::string::npos; ++line) {
        at = text.find('\n', at);
        at = at == std::string::npos ? at : at + 1;
    }
    std::string digits;
    for (; at < text.size(); ++at) {
        if (std::isxdigit(static_cast<unsigned char>(text[at])) != 0) {
            digits += text[at];
        }
    }
    Bytes block;
    for (std::size_t place = 0; place + 2 <= digits.size(); place += 2) {
        block.push_back(static_cast<std::uint8_t>(std::stoi(digits.substr(place, 2), nullptr, 16)));
    }
    return block;
}

void add_metadata(const Png& one, const PngFile& file, StoredImage& stored) {
    std::span<const std::uint8_t> profile;
    png_charp title = nullptr;
    int compression = 0;
    png_bytep bytes = nullptr;
    png_uint_32 length = 0;
    if (png_get_iCCP(one.png, one.info, &title, &compression, &bytes, &length) != 0) {
        profile = {bytes, length};
    }
    png_unknown_chunkp unknown = nullptr;
    const int unknowns = png_get_unknown_chunks(one.png, one.info, &unknown);
    for (int at = 0; at < unknowns; ++at) {
        const auto& chunk = unknown[at];
        if (std::memcmp(chunk.name, "acTL", 4) == 0 && chunk.size >= 4 && png_get_uint_32(chunk.data) > 1) {
            stored.image.notes.emplace_back("it is an animation, of which the first frame alone was read");
        }
    }
    Bytes exif;
    png_uint_32 exif_length = 0;
    png_bytep block = nullptr;
    if (png_get_eXIf_1(one.png, one.info, &exif_length, &block) != 0) {
        exif.assign(block, block + exif_length);
    } else if (file.exif_refused) {
        exif = {0};  // no block at all, which is told
    } else {
        exif = unpacked(text_of(one, "Raw profile type exif"));
    }
    if (exif.size() >= 6 && std::memcmp(exif.data(), "Exif\0", 6) == 0) {
        exif.erase(exif.begin(), exif.begin() + 6);
    }
    apply_metadata(stored, profile, exif, text_of(one, "XML:com.adobe.xmp"));
    double gamma = 0;
    int intent = 0;
    const bool standard = png_get_sRGB(one.png, one.info, &intent) != 0;
    if (!standard && profile.empty() && png_get_gAMA(one.png, one.info, &gamma) != 0 &&
        std::abs(gamma - 1 / 2.2) > 0.01) {
        char note[64];
        std::snprintf(note, sizeof note, "its gamma of %.3f was ignored", gamma);
        stored.image.notes.emplace_back(note);
    }
}

/// Red, green, blue and alpha of every palette index: gray where the palette has no color.
using Palette = std::array<std::array<std::uint8_t, 4>, 256>;

Palette palette_of(const Png& one) {
    Palette found;
    for (std::size_t index = 0; index < found.size(); ++index) {
        const auto gray = static_cast<std::uint8_t>(index);
        found[index] = {gray, gray, gray, 255};
    }
    png_colorp colors = nullptr;
    int count = 0;
    png_get_PLTE(one.png, one.info, &colors, &count);
    for (std::size_t index = 0; index < static_cast<std::size_t>(count); ++index) {
        found[index] = {colors[index].red, colors[index].green, colors[index].blue, 255};
    }
    png_bytep alpha = nullptr;
    int alphas = 0;
    png_color_16p color = nullptr;
    if (png_get_tRNS(one.png, one.info, &alpha, &alphas, &color) != 0 && alpha != nullptr) {
        for (std::size_t index = 0; index < static_cast<std::size_t>(alphas); ++index) {
            found[index][3] = alpha[index];
        }
    }
    return found;
}

/// Rows of samples as they are stored, most significant byte first, to pixels of 8 bits.
class Converter {
public:
    Converter(const Png& one, int depth, int color) : depth_(depth), channels_(png_get_channels(one.png, one.info)) {
        png_bytep alpha = nullptr;
        int alphas = 0;
        png_color_16p clear = nullptr;
        has_clear_ = (color == PNG_COLOR_TYPE_GRAY || color == PNG_COLOR_TYPE_RGB) &&
                     png_get_tRNS(one.png, one.info, &alpha, &alphas, &clear) != 0 && clear != nullptr;
        if (has_clear_ && color == PNG_COLOR_TYPE_GRAY) {
            clear_ = {clear->gray, 0, 0};
        } else if (has_clear_) {
            // 16-bit color is told by its high bytes, as everywhere here.
            const int shift = depth == 16 ? 8 : 0;
            clear_ = {clear->red >> shift, clear->green >> shift, clear->blue >> shift};
        }
        indexed_ = color == PNG_COLOR_TYPE_PALETTE;
        if (indexed_) {
            palette_ = palette_of(one);
        }
    }

    [[nodiscard]] PixelFormat format() const {
        bool clear = has_clear_ || channels_ == 2 || channels_ == 4;
        clear = clear || (indexed_ && std::any_of(palette_.begin(), palette_.end(), [](const auto& one) {
                              return one[3] < 255;
                          }));
        return clear ? PixelFormat::rgba : channels_ == 1 && !indexed_ ? PixelFormat::gray : PixelFormat::rgb;
    }

    /// The brightest sample of 16-bit gray so far.
    [[nodiscard]] int brightest() const { return brightest_; }

    void row(const std::uint8_t* from, int width, std::uint8_t* to) {
        const auto bytes = static_cast<std::size_t>(bytes_per_pixel(format()));
        for (int column = 0; column < width; ++column, to += bytes) {
            std::array<std::uint8_t, 4> pixel = indexed_ ? palette_[*from] : one_pixel(from);
            std::memcpy(to, pixel.data(), bytes);
            from += channels_ * (depth_ == 16 ? 2 : 1);
        }
    }

private:
    [[nodiscard]] int sample(const std::uint8_t* from, int channel) const {
        return depth_ == 16 ? from[2 * channel] << 8 | from[2 * channel + 1] : from[channel];
    }

    [[nodiscard]] std::uint8_t byte(const std::uint8_t* from, int channel) const {
        const int value = sample(from, channel);
        if (depth_ == 16 && channels_ == 1) {
            return static_cast<std::uint8_t>(std::lround(value / 257.0));
        }
        return static_cast<std::uint8_t>(depth_ == 16 ? value >> 8 : value * 255 / ((1 << depth_) - 1));
    }

    std::array<std::uint8_t, 4> one_pixel(const std::uint8_t* from) {
        if (channels_ <= 2) {
            const int value = sample(from, 0);
            brightest_ = depth_ == 16 && channels_ == 1 ? std::max(brightest_, value) : brightest_;
            const std::uint8_t gray = byte(from, 0);
            const bool clear = has_clear_ && value == clear_[0];
            const std::uint8_t alpha = channels_ == 2 ? byte(from, 1) : clear ? std::uint8_t{0} : std::uint8_t{255};
            return {gray, gray, gray, alpha};
        }
        std::array<std::uint8_t, 4> pixel{byte(from, 0), byte(from, 1), byte(from, 2), 255};
        const bool clear = has_clear_ && pixel[0] == clear_[0] && pixel[1] == clear_[1] && pixel[2] == clear_[2];
        pixel[3] = channels_ == 4 ? byte(from, 3) : clear ? std::uint8_t{0} : std::uint8_t{255};
        return pixel;
    }

    int depth_, channels_, brightest_ = 0;
    bool indexed_ = false, has_clear_ = false;
    std::array<int, 3> clear_{};
    Palette palette_{};
};

}  // namespace

StoredImage read_png(const Bytes& bytes, const std::string& name, std::int64_t max_pixels) {
    PngFile file{bytes};
    Png one(file);
    if (!begin_png(one, file)) {
        fail_damaged(name, file.reason);
    }
    const auto width = png_get_image_width(one.png, one.info), height = png_get_image_height(one.png, one.info);
    check_size(width, height, max_pixels, name);
    const int color = png_get_color_type(one.png, one.info);
    // Packed samples are one a byte by now; their own depth is in the header.
    const int depth = bytes[24];
    const std::size_t stride = png_get_rowbytes(one.png, one.info);
    Bytes samples(stride * height);
    std::vector<png_bytep> rows(height);
    for (std::size_t row = 0; row < height; ++row) {
        rows[row] = samples.data() + row * stride;
    }
    if (!read_png_rows(one, rows.data())) {
        fail_damaged(name, file.reason);
    }
    end_png(one);
    Converter converter(one, depth, color);
    StoredImage stored{{static_cast<int>(width), static_cast<int>(height), converter.format(), {}, {}}};
    const std::size_t bytes_of_row = std::size_t{width} * static_cast<std::size_t>(bytes_per_pixel(stored.image.format));
    stored.image.pixels.resize(bytes_of_row * height);
    for (std::size_t row = 0; row < height; ++row) {
        converter.row(rows[row], stored.image.width, stored.image.pixels.data() + row * bytes_of_row);
    }
    add_metadata(one, file, stored);
    if (const int brightest = converter.brightest(); brightest > 0 && brightest < 4096) {
        stored.image.notes.emplace_back("its 16-bit values end at " + std::to_string(brightest) +
                                        " of 65535, so that it is nearly black. Scale it if it should not be");
    }
    note_transparency(stored.image);
    if (file.pixels_doubted) {
        stored.image.notes.emplace_back("a checksum of its pixels is wrong, so some of them may be damaged");
    }
    return stored;
}

}  // namespace clsclip::tool
