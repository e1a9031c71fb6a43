"""JPEG files, as cameras, phones and Photoshop write them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tests.runtime.images.corpus.case import (
    EXIF,
    GRAY,
    IMAGES,
    PROFILE,
    SCENE,
    XMP,
    Case,
    exif_block,
    profile,
    rgb_of,
    saved,
    turned_away,
)


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with application segments behind its beginning."""
    made = b"".join(struct.pack(">BBH", 0xFF, code, len(data) + 2) + data for code, data in segments)
    return jpeg[:2] + made + jpeg[2:]


def without(jpeg: bytes, code: int) -> bytes:
    """A JPEG without its segments of a kind."""
    at, kept = 2, jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        length = 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != code:
            kept += jpeg[at : at + length]
        at += length
    return kept + jpeg[at:]


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    jpeg = saved(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    at = jpeg.rfind(b"\xff\xda")
    return jpeg[:-2] + jpeg[at:-2] * count + b"\xff\xd9"


def jpegs() -> Iterator[Case]:
    def case(name: str, content: bytes, **more: Any) -> Case:
        return Case(f"{name}.jpg", content, **({"pixels": SCENE, "lossy": 4.0, "cpp": True} | more))

    for quality, sampling in ((95, 0), (90, 1), (90, 2), (40, 2)):
        yield case(
            f"jpeg_{quality}_{sampling}", saved(SCENE, "JPEG", quality=quality, subsampling=sampling), lossy=16.0
        )
    good = saved(SCENE, "JPEG", quality=95, subsampling=0)
    yield case("jpeg_progressive", saved(SCENE, "JPEG", quality=95, subsampling=0, progressive=True))
    yield case("jpeg_optimized", saved(SCENE, "JPEG", quality=95, subsampling=0, optimize=True))
    yield case("jpeg_restarts", saved(SCENE, "JPEG", quality=95, subsampling=0, restart_marker_blocks=2))
    yield case("jpeg_gray", saved(GRAY, "JPEG", quality=95), pixels=rgb_of(GRAY))
    yield case("jpeg_kept_rgb", saved(SCENE, "JPEG", quality=95, subsampling=0, keep_rgb=True))
    inks = Image.fromarray(SCENE).convert("CMYK")
    yield case("jpeg_cmyk", saved(inks, "JPEG", quality=95, subsampling=0))
    yield case("jpeg_cmyk_without_adobe", without(saved(inks, "JPEG", quality=95, subsampling=0), 0xEE))
    black = Image.fromarray(np.stack([np.zeros_like(GRAY)] * 3 + [255 - GRAY], axis=2), "CMYK")
    yield case("jpeg_cmyk_black_alone", saved(black, "JPEG", quality=95, subsampling=0), pixels=rgb_of(GRAY))
    yield case("jpeg_ycck", ycck(inks))
    for orientation in range(1, 9):
        stored = saved(turned_away(orientation), "JPEG", quality=95, subsampling=0)
        segment = (0xE1, b"Exif\0\0" + exif_block(orientation))
        yield case(f"jpeg_exif_{orientation}", with_segments(stored, segment))
    lying = saved(turned_away(6), "JPEG", quality=95, subsampling=0)
    for name, block in (
        ("big_endian", exif_block(6, ">")),
        ("long", exif_block(6, ">", 4)),
    ):
        yield case(f"jpeg_exif_{name}", with_segments(lying, (0xE1, b"Exif\0\0" + block)))
    yield case("jpeg_exif_byte", with_segments(good, (0xE1, b"Exif\0\0" + exif_block(6, "<", 1))))
    for value in (0, 9, 255):
        segment = (0xE1, b"Exif\0\0" + exif_block(value))
        yield case(f"jpeg_exif_of_{value}", with_segments(good, segment))
    space = b"http://ns.adobe.com/xap/1.0/\0"
    yield case("jpeg_xmp", with_segments(lying, (0xE1, space + XMP.format('="6"').encode())))
    both = ((0xE1, b"Exif\0\0" + exif_block(6)), (0xE1, space + XMP.format('="3"').encode()))
    yield case("jpeg_exif_before_xmp", with_segments(lying, *both))
    yield case("jpeg_exif_damaged", with_segments(good, (0xE1, b"Exif\0\0nonsense, and more")), notes=(EXIF,))
    cut = exif_block(6)[:12]
    yield case("jpeg_exif_cut", with_segments(good, (0xE1, b"Exif\0\0" + cut)))
    yield case("jpeg_comment", with_segments(good, (0xFE, b"a comment"), (0xED, b"Photoshop 3.0\0" + bytes(99))))
    icc = profile("sRGB")
    yield case("jpeg_profile", saved(SCENE, "JPEG", quality=95, subsampling=0, icc_profile=icc), notes=(PROFILE,))
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield case("jpeg_srgb", saved(SCENE, "JPEG", quality=95, subsampling=0, icc_profile=usual))
    yield case(
        "jpeg_large_profile",
        saved(SCENE, "JPEG", quality=95, subsampling=0, icc_profile=icc + bytes(150_000)),
        notes=(PROFILE,),
    )
    two = saved(SCENE, "MPO", quality=95, subsampling=0, save_all=True, append_images=[Image.fromarray(SCENE[::-1])])
    yield case("jpeg_mpo", two, notes=(IMAGES,))
    yield case("jpeg_followed_by_a_video", good + b"\0\0\0\x18ftypmp42" + bytes(2000))
    yield case("jpeg_fill_bytes", good[:2] + b"\xff\xff\xff" + good[2:])
    yield case("jpeg_without_jfif", without(good, 0xE0))
    wrong = Case("jpeg_named.png", good, SCENE, lossy=4.0, cpp=True)
    yield wrong
    damage = "damaged or incomplete"
    for share in (0.3, 0.7, 0.95):
        yield case(f"jpeg_cut_{int(share * 100)}", good[: int(len(good) * share)], pixels=None, refusal=damage)
    progressive = saved(SCENE, "JPEG", quality=95, progressive=True)
    yield case("jpeg_progressive_cut", progressive[: int(len(progressive) * 0.8)], pixels=None, refusal=damage)
    yield case("jpeg_header_alone", good[:30], pixels=None, refusal=damage)
    twelve = good.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c")
    yield case("jpeg_12_bits", twelve, pixels=None, refusal="")
    yield case("jpeg_many_scans", many_scans(200), pixels=None, refusal="more than 100 scans")
    blocks = [(0xE1, b"Exif\0\0" + exif_block(1))] * 17
    yield case("jpeg_many_exif_blocks", with_segments(good, *blocks), pixels=None, refusal="more than 16 EXIF blocks")
    smooth = rgb_of(np.full((64, 64), 128))
    yield case("jpeg_some_scans", many_scans(20), pixels=smooth)


def ycck(inks: Image.Image) -> bytes:
    """CMYK coded as YCCK, as Photoshop does."""
    planes = np.asarray(inks)
    luma = np.asarray(Image.fromarray(planes[..., :3].copy()).convert("YCbCr"))
    # Pillow inverts what it writes as CMYK; the bytes that the file holds must be YCC of the inks, and 255 - K.
    stored = np.concatenate([255 - luma, planes[..., 3:]], axis=2)
    jpeg = saved(Image.fromarray(stored, "CMYK"), "JPEG", quality=95, subsampling=0)
    at = jpeg.find(b"Adobe")
    return jpeg[: at + 11] + b"\x02" + jpeg[at + 12 :]
