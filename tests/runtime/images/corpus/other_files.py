"""All other formats, and what is no picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, features

from tests.runtime.images.corpus.case import (
    ALPHA,
    CLEAR,
    FRAMES,
    GRAY,
    PROFILE,
    SCENE,
    Case,
    Pixels,
    exif_block,
    on_white,
    profile,
    rgb_of,
    saved,
    turned_away,
)


def others() -> Iterator[Case]:
    yield from _lossless()
    yield from _modern()
    yield from _refused()


def _lossless() -> Iterator[Case]:
    def case(name: str, content: bytes, pixels: Pixels | None = SCENE, **more: Any) -> Case:
        return Case(name, content, pixels, **more)

    few = Image.fromarray(SCENE).quantize(64)
    shown = np.asarray(few.convert("RGB"))
    frames = [few, Image.fromarray(SCENE[::-1].copy()).quantize(64)]
    yield case("gif.gif", saved(few, "GIF"), shown)
    yield case(
        "gif_animated.gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), shown, notes=(FRAMES,)
    )
    clear = few.copy()
    indices = np.asarray(few)
    hole = int(indices[6, 8])
    laid = np.where((indices == hole)[..., None], 255, shown).astype(np.uint8)
    yield case("gif_clear.gif", saved(clear, "GIF", transparency=hole), laid, notes=(CLEAR,))
    yield case("gif_interlaced.gif", saved(few, "GIF", interlace=1), shown)
    yield case("bmp.bmp", saved(SCENE, "BMP"))
    yield case("bmp_gray.bmp", saved(GRAY, "BMP"), rgb_of(GRAY))
    yield case("bmp_palette.bmp", saved(few, "BMP"), shown)
    black = np.where(GRAY > 110, 255, 0).astype(np.uint8)
    yield case("bmp_1.bmp", saved(Image.fromarray(black).convert("1"), "BMP"), rgb_of(black))
    yield case("bmp_top_down.bmp", _bmp(SCENE, top_down=True))
    yield case("bmp_555.bmp", _bmp_16(), np.asarray(_five_bits()))
    yield case("ico.ico", _icon([SCENE]), notes=())
    small = np.asarray(Image.fromarray(SCENE).resize((20, 12)))
    yield case("ico_sizes.ico", _icon([small, SCENE]), notes=("several sizes",))
    yield case("pcx.pcx", saved(SCENE, "PCX"))
    yield case("pcx_gray.pcx", saved(GRAY, "PCX"), rgb_of(GRAY))
    yield case("tga.tga", saved(SCENE, "TGA"))
    yield case("tga_rle.tga", saved(SCENE, "TGA", compression="tga_rle"))
    alpha = Image.fromarray(np.dstack([SCENE, ALPHA]))
    laid = on_white(SCENE, ALPHA)
    yield case("tga_alpha.tga", saved(alpha, "TGA"), laid, notes=(CLEAR,), lossy=0.5)
    yield case("sgi.sgi", saved(SCENE, "SGI"))
    yield case("sgi_gray.sgi", saved(GRAY, "SGI"), rgb_of(GRAY))
    yield case("ppm.ppm", saved(SCENE, "PPM"))
    yield case("pgm.pgm", saved(GRAY, "PPM"), rgb_of(GRAY))
    yield case("pbm.pbm", saved(Image.fromarray(black).convert("1"), "PPM"), rgb_of(black))
    height, width = GRAY.shape
    text = " ".join(str(value) for value in SCENE.reshape(-1))
    yield case("ppm_text.ppm", f"P3\n# by a microscope\n{width} {height}\n255\n{text}\n".encode())
    yield case("pbm_small.pbm", b"P1\n1 1\n1\n", np.zeros((1, 1, 3), np.uint8))
    deep = (GRAY.astype(">u2") * 257).tobytes()
    yield case("pgm_16.pgm", f"P5 {width} {height} 65535\n".encode() + deep, rgb_of(GRAY))
    twelve = (GRAY.astype(int) * 4095 + 127) // 255
    shown_12 = rgb_of(np.rint(twelve / 4095 * 255))
    content = f"P5 {width} {height} 4095\n".encode() + twelve.astype(">u2").tobytes()
    yield case("pgm_12.pgm", content, shown_12, lossy=0.1)
    floats = (GRAY[::-1] / 255).astype("<f4").tobytes()
    yield case("pfm.pfm", f"Pf\n{width} {height}\n-1.0\n".encode() + floats, rgb_of(GRAY), notes=("0 to 1 was taken",))
    yield case("qoi.qoi", _qoi())
    if features.check("jpg_2000"):
        yield case("jp2.jp2", saved(SCENE, "JPEG2000", irreversible=False))
        yield case("j2k.j2k", saved(SCENE, "JPEG2000", irreversible=False, no_jp2=True))
        gray = Image.fromarray(GRAY.astype(np.uint16) * 257)
        yield case("jp2_16.jp2", saved(gray, "JPEG2000", irreversible=False), rgb_of(GRAY))
        yield case("jp2_alpha.jp2", saved(alpha, "JPEG2000", irreversible=False), laid, notes=(CLEAR,), lossy=0.5)


def _modern() -> Iterator[Case]:
    alpha = Image.fromarray(np.dstack([SCENE, ALPHA]))
    laid = on_white(SCENE, ALPHA)
    yield Case("webp.webp", saved(SCENE, "WEBP", lossless=True), SCENE)
    yield Case("webp_lossy.webp", saved(SCENE, "WEBP", quality=95), SCENE, lossy=8.0)
    exact = saved(alpha, "WEBP", lossless=True, exact=True)
    yield Case("webp_alpha.webp", exact, laid, notes=(CLEAR,), lossy=0.5)
    for orientation in range(1, 9):
        content = saved(turned_away(orientation), "WEBP", lossless=True, exif=b"Exif\0\0" + exif_block(orientation))
        yield Case(f"webp_exif_{orientation}.webp", content, SCENE)
    frames = [Image.fromarray(SCENE), Image.fromarray(SCENE[::-1].copy())]
    animated = saved(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:])
    yield Case("webp_animated.webp", animated, SCENE, notes=(FRAMES,))
    yield Case(
        "webp_profile.webp", saved(SCENE, "WEBP", lossless=True, icc_profile=profile("sRGB")), SCENE, notes=(PROFILE,)
    )
    if features.check("avif"):
        yield Case("avif.avif", saved(SCENE, "AVIF", quality=95, subsampling="4:4:4"), SCENE, lossy=6.0)
        yield Case("avif_alpha.avif", saved(alpha, "AVIF", quality=100), laid, notes=(CLEAR,), lossy=8.0)
        for orientation in (3, 6, 8):
            content = saved(
                turned_away(orientation), "AVIF", quality=95, subsampling="4:4:4", exif=exif_block(orientation)
            )
            yield Case(f"avif_exif_{orientation}.avif", content, SCENE, lossy=6.0)
        animated = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], quality=95)
        yield Case("avif_animated.avif", animated, SCENE, notes=(FRAMES,), lossy=8.0)


def _refused() -> Iterator[Case]:
    for name, content, refusal in (
        ("empty.png", b"", "is empty"),
        ("words.jpg", b"these are words", "not a picture"),
        ("zeros.png", bytes(5000), "not a picture"),
        ("photoshop.psd", b"8BPS\0\1" + bytes(99), "Photoshop document"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a drawing (SVG)"),
        ("drawing_xml.svg", b"<?xml version='1.0'?>\n<!-- by hand -->\n<svg/>", "a drawing (SVG)"),
        ("page.jpg", b"<!DOCTYPE html>\n<html><title>404</title>", "a web page"),
        ("print.pdf", b"%PDF-1.7\n", "a PDF document"),
        ("print.eps", saved(SCENE, "EPS"), "PostScript"),
        ("postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        ("array.npy", b"\x93NUMPY\1\0" + bytes(99), "a NumPy array"),
        ("bright.exr", b"v/1\x01" + bytes(99), "OpenEXR"),
        ("bright.hdr", b"#?RADIANCE\n" + bytes(99), "Radiance"),
        ("sky.fits", b"SIMPLE  =                    T".ljust(2880), "FITS"),
        ("slice.dcm", bytes(128) + b"DICM" + bytes(99), "DICOM"),
        ("new.jxl", b"\xff\x0a" + bytes(99), "JPEG XL"),
        ("boxed.jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
        ("raw.cr3", b"\0\0\0\x18ftypcrx " + bytes(99), "raw file"),
        ("raw.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "TIFF file"),
        ("raw.rw2", b"IIU\0" + bytes(99), "raw file"),
        ("clip.jpg", b"\0\0\0\x18ftypmp42" + bytes(99), "a video"),
        ("clip.webm", b"\x1a\x45\xdf\xa3" + bytes(99), "a video"),
        ("archive.jpg", b"PK\3\4" + bytes(99), "an archive"),
        ("._photo.jpg", b"\0\5\x16\7" + bytes(99), "macOS"),
        ("pointer.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    ):
        yield Case(name, content, None, refusal=refusal)
    for name, content in (
        ("webp_cut.webp", saved(SCENE, "WEBP", lossless=True)),
        ("gif_cut.gif", saved(Image.fromarray(SCENE).quantize(64), "GIF")),
        ("bmp_cut.bmp", saved(SCENE, "BMP")),
        ("ppm_cut.ppm", saved(SCENE, "PPM")),
        ("jp2_cut.jp2", saved(SCENE, "JPEG2000", irreversible=False)),
    ):
        yield Case(name, content[: int(len(content) * 0.6)], None, refusal="damaged or incomplete")


def _bmp(pixels: Pixels, *, top_down: bool) -> bytes:
    height, width = pixels.shape[:2]
    rows = pixels[..., ::-1] if top_down else pixels[::-1, :, ::-1]
    data = b"".join(row.tobytes().ljust(-(-width * 3 // 4) * 4, b"\0") for row in rows)
    size = -height if top_down else height
    header = struct.pack("<IiiHHIIiiII", 40, width, size, 1, 24, 0, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + header + data


def _five_bits() -> Pixels:
    """The scene in 5 bits a color, as they are stretched to 8."""
    high = SCENE.astype(int) >> 3
    return (high * 255 // 31).astype(np.uint8)


def _bmp_16() -> bytes:
    """16 bits a pixel: five for each color."""
    high = SCENE.astype(int) >> 3
    words = (high[..., 0] << 10 | high[..., 1] << 5 | high[..., 2]).astype("<u2")
    data = b"".join(row.tobytes().ljust(-(-len(row) * 2 // 4) * 4, b"\0") for row in words[::-1])
    height, width = words.shape
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 0, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + header + data


def _icon(images: list[Pixels]) -> bytes:
    """An icon of PNG files."""
    files = [saved(one, "PNG") for one in images]
    at = 6 + 16 * len(files)
    directory = struct.pack("<HHH", 0, 1, len(files))
    for image, file in zip(images, files, strict=True):
        height, width = image.shape[:2]
        directory += struct.pack("<BBBBHHII", width, height, 0, 0, 1, 32, len(file), at)
        at += len(file)
    return directory + b"".join(files)


def _qoi() -> bytes:
    """Every pixel in full."""
    height, width = GRAY.shape
    body = b"".join(b"\xfe" + pixel.tobytes() for pixel in SCENE.reshape(-1, 3))
    return b"qoif" + struct.pack(">IIBB", width, height, 3, 0) + body + bytes(7) + b"\1"
