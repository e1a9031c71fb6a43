/// The tiny bundle, whose masks are known by hand, and folders that go when a test ends.
#pragma once

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "catch.hpp"
#include "clsclip/clsclip.hpp"

namespace clsclip::test {

inline const std::filesystem::path kTiny = CLSCLIP_TINY_BUNDLE;

/// A folder of a test's own.
class Folder {
public:
    Folder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "clsclip-XXXXXX").string();
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

    /// A copy of the tiny bundle inside.
    [[nodiscard]] std::filesystem::path tiny() const {
        const auto copy = path_ / "tiny.clsclip";
        std::filesystem::remove_all(copy);
        std::filesystem::copy(kTiny, copy, std::filesystem::copy_options::recursive);
        return copy;
    }

private:
    std::filesystem::path path_;
};

inline std::string read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void write(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// 32 x 32 pixels in blocks of 4: red at block rows 1-3 and columns 1-4, green at rows 5-6 and columns 2-3, on gray.
struct Scene {
    static constexpr int kSide = 32;
    std::vector<std::uint8_t> pixels = std::vector<std::uint8_t>(3 * kSide * kSide, 160);

    Scene() {
        fill(1, 4, 1, 5, {255, 0, 0});
        fill(5, 7, 2, 4, {0, 255, 0});
    }

    [[nodiscard]] ImageView view() const { return {pixels.data(), kSide, kSide, 3 * kSide, PixelFormat::rgb}; }

private:
    void fill(int top, int bottom, int left, int right, std::array<std::uint8_t, 3> color) {
        for (int y = 4 * top; y < 4 * bottom; ++y) {
            for (int x = 4 * left; x < 4 * right; ++x) {
                std::copy(color.begin(), color.end(), pixels.begin() + 3 * (y * kSide + x));
            }
        }
    }
};

/// Whether a mask is 1 inside a window and 0 elsewhere.
inline bool is_window(const Mask& mask, const Window& window) {
    for (int y = 0; y < mask.height; ++y) {
        for (int x = 0; x < mask.width; ++x) {
            const bool inside = x >= window.left && x < window.right && y >= window.top && y < window.bottom;
            if ((mask.row(y)[static_cast<std::size_t>(x)] != 0) != inside) {
                return false;
            }
        }
    }
    return true;
}

}  // namespace clsclip::test
