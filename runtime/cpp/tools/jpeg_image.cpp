/// JPEG: gray, RGB and CMYK, with notes of what was left out.
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <map>

#include <jpeglib.h>
// After it, which it needs.
#include <jerror.h>

#include "image_readers.hpp"

namespace clsclip::tool {

namespace {

/// Encoders make about ten scans; each costs the time of a whole image.
constexpr int kMostScans = 100;
constexpr int kMostExifBlocks = 16;

/// libjpeg jumps out of its functions where it fails; nothing that needs a destructor lives between.
struct JpegErrors {
    jpeg_error_mgr base;
    std::jmp_buf jump;
    char reason[JMSG_LENGTH_MAX];
    bool guessed;  ///< there was a warning: data are damaged, and `reason` is the first one
};

[[noreturn]] void on_jpeg_error(j_common_ptr info) {
    auto* errors = reinterpret_cast<JpegErrors*>(info->err);
    info->err->format_message(info, errors->reason);
    std::longjmp(errors->jump, 1);
}

void on_jpeg_warning(j_common_ptr info, int level) {
    if (level >= 0) {
        return;
    }
    auto* errors = reinterpret_cast<JpegErrors*>(info->err);
    if (info->err->msg_code == JWRN_JPEG_EOF) {  // the rest would be gray
        on_jpeg_error(info);
    }
    if (!errors->guessed) {
        errors->guessed = true;
        info->err->format_message(info, errors->reason);
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
    return true;
}

/// Adobe's CMYK, inverted as all programs write it, to RGB: (255 - ink) (255 - black) / 255, as Pillow rounds it.
void cmyk_to_rgb(std::span<const std::uint8_t> inks, std::uint8_t* rgb) {
    for (std::size_t at = 0; at + 4 <= inks.size(); at += 4) {
        const int light = inks[at + 3];
        for (std::size_t channel = 0; channel < 3; ++channel) {
            const int ink = 255 - inks[at + channel];
            const int product = ink * light + 128;
            *rgb++ = static_cast<std::uint8_t>(std::max(0, light - (((product >> 8) + product) >> 8)));
        }
    }
}

/// What the segments before the pixels say.
struct Segments {
    Bytes exif, profile;
    std::string xmp;
    int images = 1;  ///< in the file
    int scans = 0, exif_blocks = 0;
};

std::string_view text_of(std::span<const std::uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The number of images that a Multi-Picture block lists.
int images_of(std::span<const std::uint8_t> block) {
    if (block.size() < 8) {
        return 1;
    }
    const bool big = block[0] == 'M';
    const auto number = [&](std::size_t place, std::size_t bytes) {
        std::size_t value = 0;
        for (std::size_t step = 0; step < bytes; ++step) {
            const std::size_t one = place + (big ? step : bytes - 1 - step);
            value = value << 8 | (one < block.size() ? block[one] : 0U);
        }
        return value;
    };
    const std::size_t first = number(4, 4), entries = number(first, 2);
    for (std::size_t entry = 0; entry < entries && first + 2 + 12 * (entry + 1) <= block.size(); ++entry) {
        const std::size_t place = first + 2 + 12 * entry;
        if (number(place, 2) == 0xB001) {
            return static_cast<int>(std::min<std::size_t>(number(place + 8, 4), 1000));
        }
    }
    return 1;
}

Segments segments_of(const Bytes& bytes) {
    constexpr std::string_view kExif{"Exif\0\0", 6}, kProfile{"ICC_PROFILE\0", 12}, kMany{"MPF\0", 4};
    constexpr std::string_view kXmp{"http://ns.adobe.com/xap/1.0/\0", 29}, kGainMap = " hdrgm:Version=\"";
    Segments found;
    std::map<int, Bytes> profile;
    int profile_parts = 0;
    bool gain_map = false;
    for (std::size_t at = 2; at + 4 <= bytes.size() && found.scans <= kMostScans &&
                                                  found.exif_blocks <= kMostExifBlocks;) {
        if (bytes[at] != 0xFF) {
            ++at;
            continue;
        }
        const int code = bytes[at + 1];
        if (code == 0xD9) {
            break;
        }
        if (code == 0 || code == 1 || code == 0xFF || (code >= 0xD0 && code <= 0xD8)) {  // no length follows
            at += code == 0xFF ? 1 : 2;
            continue;
        }
        found.scans += code == 0xDA ? 1 : 0;
        const std::size_t length = std::max<std::size_t>(2, std::size_t{bytes[at + 2]} << 8 | bytes[at + 3]);
        const auto body = std::span(bytes).subspan(at + 4, std::min(length - 2, bytes.size() - at - 4));
        const std::string_view text = text_of(body);
        if (code == 0xE1 && text.starts_with(kExif)) {
            ++found.exif_blocks;
            found.exif.insert(found.exif.end(), body.begin() + 6, body.end());
        } else if (code == 0xE1 && text.starts_with(kXmp)) {
            found.xmp = text.substr(kXmp.size());
            found.xmp = found.xmp.substr(0, found.xmp.find('\0'));
        } else if (code == 0xE2 && text.starts_with(kProfile) && body.size() >= 14) {
            profile_parts = body[13];
            profile[body[12]].assign(body.begin() + 14, body.end());
        } else if (code == 0xE2 && text.starts_with(kMany)) {
            found.images = images_of(body.subspan(4));
        }
        gain_map = gain_map || (code == 0xE1 && text.find(kGainMap) != std::string_view::npos);
        at += 2 + length;
    }
    if (profile_parts == static_cast<int>(profile.size())) {
        for (const auto& [number, part] : profile) {
            found.profile.insert(found.profile.end(), part.begin(), part.end());
        }
    }
    found.images = gain_map ? 1 : found.images;
    return found;
}

}  // namespace

StoredImage read_jpeg(const Bytes& bytes, const std::string& name, std::int64_t max_pixels) {
    const Segments segments = segments_of(bytes);
    if (segments.scans > kMostScans || segments.exif_blocks > kMostExifBlocks) {
        const std::string what = segments.scans > kMostScans ? std::to_string(kMostScans) + " scans"
                                                             : std::to_string(kMostExifBlocks) + " EXIF blocks";
        throw ImageError(name + " is a JPEG of more than " + what +
                         ", which no camera or program makes and which takes very long to read. Save it anew");
    }
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
    check_size(info.image_width, info.image_height, max_pixels, name);
    const int channels = info.num_components;
    if (channels != 1 && channels != 3 && channels != 4) {
        throw ImageError(name + " is a JPEG file of " + std::to_string(channels) + " channels, a rare kind. Save it as PNG");
    }
    info.out_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    const std::size_t count = std::size_t{info.image_width} * info.image_height;
    StoredImage stored{{static_cast<int>(info.image_width), static_cast<int>(info.image_height),
                        channels == 1 ? PixelFormat::gray : PixelFormat::rgb, {}, {}}};
    Bytes pixels(count * static_cast<std::size_t>(channels));
    if (!read_jpeg_rows(info, errors, pixels.data())) {
        fail_damaged(name, errors.reason);
    }
    if (channels == 4) {
        stored.image.pixels.resize(count * 3);
        cmyk_to_rgb(pixels, stored.image.pixels.data());
    } else {
        stored.image.pixels = std::move(pixels);
    }
    if (segments.images > 1) {
        stored.image.notes.emplace_back("it holds several pictures, of which the first alone was read");
    }
    if (errors.guessed) {
        stored.image.notes.emplace_back(std::string("its data are damaged, and some of its pixels are guessed: ") +
                                        errors.reason);
    }
    apply_metadata(stored, segments.profile, segments.exif, segments.xmp);
    return stored;
}

}  // namespace clsclip::tool
