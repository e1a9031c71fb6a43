"""PNG files, written by hand where no program writes them on demand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.runtime.images.corpus.case import (
    ALPHA,
    CLEAR,
    EXIF,
    FRAMES,
    GRAY,
    HEIGHT,
    PROFILE,
    SCENE,
    WIDTH,
    XMP,
    Case,
    Pixels,
    exif_block,
    on_white,
    profile,
    rgb_of,
    saved,
    turned_away,
)


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(
    samples: npt.NDArray[Any],
    depth: int,
    color: int,
    before: bytes = b"",
    after: bytes = b"",
    *,
    idat_crc: int | None = None,
    ihdr_crc: int | None = None,
    parts: int = 1,
) -> bytes:
    """A PNG file of samples (H, W) or (H, W, C), of 1 to 16 bits."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    if depth == 16:
        packed = rows.astype(">u2").view(np.uint8).reshape(height, -1)
    elif depth == 8:
        packed = rows.astype(np.uint8)
    else:
        bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    raw = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    step = -(-len(raw) // parts)
    data = b"".join(chunk(b"IDAT", raw[at : at + step], idat_crc) for at in range(0, len(raw), step))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header, ihdr_crc) + before + data + after + chunk(b"IEND", b"")


def pngs() -> Iterator[Case]:
    def case(name: str, content: bytes, pixels: Pixels | None = SCENE, **more: Any) -> Case:
        return Case(f"{name}.png", content, pixels, **({"cpp": True} | more))

    for depth in (1, 2, 4):
        few = (GRAY.astype(int) * ((1 << depth) - 1) + 127) // 255
        full = rgb_of(few * 255 // ((1 << depth) - 1))
        yield case(f"png_gray_{depth}", png(few, depth, 0), full)
        clear = few[0, 0]
        laid = np.where((few == clear)[..., None], 255, full).astype(np.uint8)
        trns = chunk(b"tRNS", struct.pack(">H", clear))
        yield case(f"png_gray_{depth}_clear", png(few, depth, 0, trns), laid, notes=(CLEAR,))
        table = SCENE.reshape(-1, 3)[:: len(SCENE.reshape(-1, 3)) >> depth][: 1 << depth]
        palette = chunk(b"PLTE", table.tobytes())
        yield case(f"png_palette_{depth}", png(few, depth, 3, palette), table[few])
    yield case("png_gray_8", png(GRAY, 8, 0), rgb_of(GRAY))
    laid = np.where((GRAY[0, 0] == GRAY)[..., None], 255, rgb_of(GRAY)).astype(np.uint8)
    trns = chunk(b"tRNS", struct.pack(">H", GRAY[0, 0]))
    yield case("png_gray_8_clear", png(GRAY, 8, 0, trns), laid, notes=(CLEAR,))
    deep = GRAY.astype(np.int64) * 257
    uneven = np.clip(deep + np.arange(WIDTH) * 5 - 60, 0, 65535)
    yield case("png_gray_16", png(deep, 16, 0), rgb_of(GRAY))
    yield case("png_gray_16_uneven", png(uneven, 16, 0), rgb_of(np.rint(uneven / 257)))
    trns = chunk(b"tRNS", struct.pack(">H", uneven[0, 0]))
    laid = np.where((uneven == uneven[0, 0])[..., None], 255, rgb_of(np.rint(uneven / 257))).astype(np.uint8)
    yield case("png_gray_16_clear", png(uneven, 16, 0, trns), laid, notes=(CLEAR,))
    dark = GRAY.astype(np.int64) * 16
    yield case("png_gray_12_in_16", png(dark, 16, 0), rgb_of(np.rint(dark / 257)), notes=("nearly black",))
    with_alpha = np.dstack([SCENE, ALPHA])
    yield case("png_rgb_8", png(SCENE, 8, 2))
    yield case("png_rgb_16", png(SCENE.astype(np.int64) * 257, 16, 2))
    yield case("png_rgb_16_uneven", png(SCENE.astype(np.int64) * 256 + 200, 16, 2))
    yield case("png_rgba_8", png(with_alpha, 8, 6), on_white(SCENE, ALPHA), notes=(CLEAR,), lossy=0.5)
    yield case(
        "png_rgba_16", png(with_alpha.astype(np.int64) * 257, 16, 6), on_white(SCENE, ALPHA), notes=(CLEAR,), lossy=0.5
    )
    solid = np.dstack([SCENE, np.full_like(ALPHA, 255)])
    yield case("png_rgba_solid", png(solid, 8, 6))
    yield case(
        "png_rgba_nothing",
        png(np.dstack([SCENE, np.zeros_like(ALPHA)]), 8, 6),
        np.full_like(SCENE, 255),
        notes=(CLEAR,),
    )
    gray_alpha = np.dstack([GRAY, ALPHA])
    laid = on_white(rgb_of(GRAY), ALPHA)
    yield case("png_la_8", png(gray_alpha, 8, 4), laid, notes=(CLEAR,), lossy=0.5)
    yield case("png_la_16", png(gray_alpha.astype(np.int64) * 257, 16, 4), laid, notes=(CLEAR,), lossy=0.5)
    color = SCENE[5, 7]
    laid = np.where((color == SCENE).all(axis=2)[..., None], 255, SCENE).astype(np.uint8)
    yield case("png_rgb_clear", png(SCENE, 8, 2, chunk(b"tRNS", struct.pack(">3H", *color))), laid, notes=(CLEAR,))
    wide = chunk(b"tRNS", struct.pack(">3H", *(color.astype(int) * 257)))
    yield case("png_rgb_16_clear", png(SCENE.astype(np.int64) * 257, 16, 2, wide), laid, notes=(CLEAR,))
    few = Image.fromarray(SCENE).quantize(64)
    table = np.asarray(few.getpalette()[: 64 * 3], np.uint8).reshape(-1, 3)
    indices = np.asarray(few)
    palette = chunk(b"PLTE", table.tobytes())
    yield case("png_palette_8", png(indices, 8, 3, palette), table[indices])
    alphas = np.linspace(0, 255, 30).astype(np.uint8)
    shares = np.r_[alphas, np.full(256 - 30, 255)][indices]
    clear = palette + chunk(b"tRNS", alphas.tobytes())
    yield case(
        "png_palette_alphas", png(indices, 8, 3, clear), on_white(table[indices], shares), notes=(CLEAR,), lossy=0.5
    )
    one = palette + chunk(b"tRNS", b"\xff\xff\0")
    shares = np.where(indices == 2, 0, 255)
    yield case("png_palette_one_clear", png(indices, 8, 3, one), on_white(table[indices], shares), notes=(CLEAR,))
    yield case("png_interlaced", saved_interlaced(), SCENE)
    yield case("png_many_parts", png(SCENE, 8, 2, parts=20))
    for orientation in range(1, 9):
        stored = turned_away(orientation)
        yield case(f"png_exif_{orientation}", png(stored, 8, 2, chunk(b"eXIf", exif_block(orientation))))
    lying = turned_away(6)
    yield case("png_exif_after_pixels", png(lying, 8, 2, after=chunk(b"eXIf", exif_block(6, ">"))))
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.format('="6"').encode())
    yield case("png_xmp", png(lying, 8, 2, xmp))
    digits = (b"Exif\0\0" + exif_block(6)).hex()
    lines = f"\nexif\n{len(digits) // 2:8}\n{digits}\n".encode()
    yield case("png_raw_profile", png(lying, 8, 2, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(lines))))
    yield case("png_exif_damaged", png(SCENE, 8, 2, chunk(b"eXIf", b"nonsense, and more")), notes=(EXIF,))
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    yield case("png_gamma_1", png(SCENE, 8, 2, gamma), notes=("gamma of 1.000",))
    yield case("png_gamma_1_gray_16", png(deep, 16, 0, gamma), rgb_of(GRAY), notes=("gamma of 1.000",))
    yield case("png_gamma_usual", png(SCENE, 8, 2, chunk(b"gAMA", struct.pack(">I", 45_455))))
    yield case("png_srgb", png(SCENE, 8, 2, chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 45_455))))
    icc = chunk(b"iCCP", b"wide\0\0" + zlib.compress(profile("sRGB")))
    yield case("png_profile", png(SCENE, 8, 2, icc), notes=(PROFILE,))
    yield case("png_background", png(SCENE, 8, 2, chunk(b"bKGD", struct.pack(">3H", 1, 2, 3))))
    yield case("png_significant_bits", png(SCENE, 8, 2, chunk(b"sBIT", b"\5\6\5")))
    yield case("png_text", png(SCENE, 8, 2, chunk(b"tEXt", b"Software\0a scanner") + chunk(b"tIME", bytes(7))))
    yield case("png_unknown_chunk", png(SCENE, 8, 2, chunk(b"vpAg", bytes(9))))
    frames = [Image.fromarray(SCENE), Image.fromarray(SCENE[::-1])]
    animated = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield case("png_animated", animated, notes=(FRAMES,))
    yield case("png_and_more", png(SCENE, 8, 2) + b"more bytes")
    yield case("png_pixels_checksum", png(SCENE, 8, 2, idat_crc=1), notes=("a checksum of its pixels is wrong",))
    damage = "damaged or incomplete"
    good = png(SCENE, 8, 2)
    for share in (0.3, 0.7):
        yield case(f"png_cut_{int(share * 100)}", good[: int(len(good) * share)], None, refusal=damage)
    yield case("png_header_checksum", png(SCENE, 8, 2, ihdr_crc=1), None, refusal=damage)
    yield case("png_text_checksum", png(SCENE, 8, 2, chunk(b"tEXt", b"a\0b", 1)), None, refusal=damage)
    yield case("png_without_palette", png(indices, 8, 3), None, refusal="")
    yield case("png_header_alone", good[:33], None, refusal=damage)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0x10
    yield case("png_a_bit_flipped", bytes(flipped), None, refusal=damage)
    yield case("png_of_no_width", png(np.zeros((3, 0), np.uint8), 8, 0), None, refusal="")
    tall = png(np.zeros((65_536, 1), np.uint8), 8, 0)
    yield case("png_too_tall", tall, None, refusal="a side may have")
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)) + good[33:]
    yield case("png_too_large", huge, None, refusal="the limit is")


def saved_interlaced() -> bytes:
    """Adam7 by hand, since Pillow does not write it."""
    rows = b""
    for top, left, down, across in (
        *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4)),
        *((0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in SCENE[top::down, left::across])
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
