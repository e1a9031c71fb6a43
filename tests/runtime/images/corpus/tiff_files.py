"""TIFF files, as scanners, microscopes, satellites, Photoshop and NumPy write them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.runtime.images.corpus.case import (
    ALPHA,
    CLEAR,
    GRAY,
    PAGES,
    PROFILE,
    SCENE,
    Case,
    Pixels,
    on_white,
    profile,
    rgb_of,
    saved,
    turned_away,
)

_SIZES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II"}


def tiff(
    samples: npt.NDArray[Any],
    tags: dict[int, tuple[int, ...] | int],
    *,
    order: str = "<",
    data: bytes | None = None,
) -> bytes:
    """A TIFF file of one uncompressed strip by hand; ``tags`` beside or in place of the usual ones."""
    height, width = samples.shape[:2]
    raw = samples.astype(samples.dtype.newbyteorder(order)).tobytes() if data is None else data
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    usual: dict[int, tuple[int, ...] | int] = {
        256: width,
        257: height,
        258: (samples.dtype.itemsize * 8,) * channels,
        259: 1,
        262: 1 if channels < 3 else 2,
        273: 8,
        277: channels,
        278: height,
        279: len(raw),
        284: 1,
    }
    entries = {tag: (value,) if isinstance(value, int) else value for tag, value in (usual | tags).items()}
    at = 8 + len(raw) + len(raw) % 2
    more = at + 2 + 12 * len(entries) + 4
    directory, outside = struct.pack(order + "H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        kind = 4 if tag in (256, 257, 273, 278, 279) else 3
        packed = struct.pack(order + _SIZES[kind] * len(values), *values)
        directory += struct.pack(order + "HHI", tag, kind, len(values))
        if len(packed) <= 4:
            directory += packed.ljust(4, b"\0")
        else:
            directory += struct.pack(order + "I", more + len(outside))
            outside += packed + bytes(len(packed) % 2)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return (
        mark
        + struct.pack(order + "I", at)
        + raw
        + bytes(len(raw) % 2)
        + directory
        + struct.pack(order + "I", 0)
        + outside
    )


def tiffs() -> Iterator[Case]:
    def case(name: str, content: bytes, pixels: Pixels | None = SCENE, **more: Any) -> Case:
        return Case(f"{name}.tif", content, pixels, **more)

    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"):
        yield case(f"tiff_{compression}", saved(SCENE, "TIFF", compression=compression))
    yield case("tiff_jpeg", saved(SCENE, "TIFF", compression="jpeg", quality=95), lossy=6.0)
    black = np.where(GRAY > 110, 255, 0).astype(np.uint8)
    bits = Image.fromarray(black).convert("1")
    for compression in ("group3", "group4", "tiff_ccitt"):
        yield case(f"tiff_{compression}", saved(bits, "TIFF", compression=compression), rgb_of(black))
    for order in ("<", ">"):
        name = "little" if order == "<" else "big"
        deep = GRAY.astype(np.uint16) * 257
        yield case(f"tiff_rgb_{name}", tiff(SCENE, {}, order=order))
        yield case(f"tiff_16_{name}", tiff(deep, {}, order=order), rgb_of(GRAY))
        yield case(f"tiff_rgb_16_{name}", tiff(SCENE.astype(np.uint16) * 257, {}, order=order))
        unit = (GRAY / 255).astype(np.float32)
        note = ("0 to 1 was taken",)
        yield case(f"tiff_float_{name}", tiff(unit, {339: 3}, order=order), rgb_of(GRAY), notes=note)
        signed = GRAY.astype(np.int16) * 100
        shown = rgb_of(np.rint(signed / 65535.0 * 255))
        yield case(f"tiff_int16_{name}", tiff(signed, {339: 2}, order=order), shown)
        yield case(f"tiff_white_is_zero_{name}", tiff(255 - GRAY, {262: 0}, order=order), rgb_of(GRAY))
    for orientation in range(1, 9):
        yield case(f"tiff_exif_{orientation}", tiff(turned_away(orientation), {274: orientation}))
    yield case("tiff_white_is_zero_16", tiff(65535 - deep, {262: 0}), rgb_of(GRAY))
    yield case(
        "tiff_12_in_16",
        tiff(GRAY.astype(np.uint16) * 16, {}),
        rgb_of(np.rint(GRAY.astype(int) * 16 / 257)),
        notes=("nearly black",),
    )
    twelve = (GRAY.astype(int) * 4095 + 127) // 255
    pairs = twelve.reshape(len(twelve), -1, 2)
    packed = np.stack([pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8, pairs[..., 1] & 255], axis=2)
    shown = rgb_of(np.rint(twelve / 4095 * 255))
    yield case("tiff_12", tiff(GRAY, {258: 12}, data=packed.astype(np.uint8).tobytes()), shown)
    wide = GRAY.astype(np.uint32) * 16_843_009
    shown = rgb_of(np.rint(GRAY / GRAY.max() * 255))
    yield case("tiff_uint32", tiff(wide, {}), shown, notes=("was taken for black to white",))
    plain = GRAY.astype(np.int32) * 257
    yield case("tiff_int32", tiff(plain, {339: 2}), rgb_of(GRAY))
    yield case(
        "tiff_int32_negative",
        tiff(plain - 257 * 60, {339: 2}),
        rgb_of(np.clip(GRAY.astype(int) - 60, 0, 255)),
        notes=("negative values",),
    )
    large = GRAY.astype(np.float32)
    yield case("tiff_float_255", tiff(large, {339: 3}), rgb_of(GRAY), notes=("0 to 255 was taken",))
    holes = large.copy()
    holes[:3] = np.nan
    holes[3, :5] = np.inf
    shown = rgb_of(np.nan_to_num(holes, nan=0, posinf=0))
    yield case("tiff_float_holes", tiff(holes, {339: 3}), shown, notes=("0 to 255", "no numbers"))
    heights = large * 12.5 - 400
    shown = rgb_of(np.rint(np.clip(heights / heights.max(), 0, 1) * 255))
    yield case("tiff_heights", tiff(heights.astype(np.float32), {339: 3}), shown, notes=("was taken", "negative"))
    straight = np.dstack([SCENE, ALPHA])
    laid = on_white(SCENE, ALPHA)
    yield case("tiff_rgba", tiff(straight, {338: 2}), laid, notes=(CLEAR,), lossy=0.5)
    over = (SCENE.astype(int) * ALPHA[..., None] + 127) // 255
    premultiplied = np.dstack([over.astype(np.uint8), ALPHA])
    yield case("tiff_rgba_premultiplied", tiff(premultiplied, {338: 1}), laid, notes=(CLEAR,), lossy=3.0)
    yield case("tiff_rgb_and_more", tiff(straight, {338: 0}), notes=("4 channels",))
    five = np.dstack([SCENE, GRAY, GRAY])
    yield case("tiff_five_channels", tiff(five, {338: (0, 0)}), notes=("5 channels",))
    yield case(
        "tiff_gray_alpha",
        tiff(np.dstack([GRAY, ALPHA]), {338: 2}),
        on_white(rgb_of(GRAY), ALPHA),
        notes=(CLEAR,),
        lossy=0.5,
    )
    inks = np.asarray(Image.fromarray(SCENE).convert("CMYK"))
    yield case("tiff_cmyk", tiff(inks, {262: 5}))
    planes = np.concatenate([SCENE[..., one].reshape(-1) for one in range(3)]).tobytes()
    size = GRAY.size
    yield case("tiff_planes", saved_planes(planes, size))
    few = Image.fromarray(SCENE).quantize(64)
    yield case("tiff_palette", saved(few, "TIFF"), np.asarray(few.convert("RGB")))
    lab = np.dstack([GRAY, np.full_like(GRAY, 0), np.full_like(GRAY, 0)])
    lightness = GRAY / 255 * 100
    linear = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    coded = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    yield case("tiff_lab", tiff(lab, {262: 8}), rgb_of(np.rint(coded * 255)), lossy=1.0)
    pages = [Image.fromarray(one) for one in (SCENE, SCENE[::-1].copy())]
    many = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    yield case("tiff_pages", many, notes=(PAGES,))
    yield case("tiff_profile", saved(SCENE, "TIFF", icc_profile=profile("sRGB")), notes=(PROFILE,))
    yield case("tiff_thumbnail_first", tiff(SCENE, {254: 1}), None, refusal="camera's raw file")
    yield case(
        "tiff_half_floats", tiff(GRAY.astype(np.float16), {339: 3}), None, refusal="TIFF file that cannot be read"
    )
    yield case("tiff_rgb_floats", tiff(SCENE.astype(np.float32), {339: (3, 3, 3)}), None, refusal="TIFF file")
    good = saved(SCENE, "TIFF", compression="raw")
    yield case("tiff_cut", good[: len(good) // 2], None, refusal="damaged or incomplete")


def saved_planes(planes: bytes, size: int) -> bytes:
    """Red, green and blue one after another."""
    start = 8
    return tiff(SCENE, {284: 2, 273: tuple(start + size * one for one in range(3)), 279: (size,) * 3}, data=planes)
