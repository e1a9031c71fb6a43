"""What a case is, and what all makers of files share."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 40, 24


@dataclass(frozen=True)
class Case:
    """A file and what it must become.

    Attributes:
        name: of the file, with its suffix.
        content: its bytes.
        pixels: (H, W, 3) RGB; None where the file is refused.
        notes: parts of its notes, all of them in order.
        refusal: a part of the error.
        lossy: mean difference that the format may make; 0 asks for equal pixels.
        cpp: C++ must give exactly what Python gives; False where C++ has no reader.
        needs: formats of Pillow that may be missing.
    """

    name: str
    content: bytes
    pixels: Pixels | None = None
    notes: tuple[str, ...] = ()
    refusal: str = ""
    lossy: float = 0.0
    cpp: bool = False
    needs: tuple[str, ...] = field(default=())


FRAMES, PAGES, IMAGES = "is an animation", "several pages", "several pictures"
PROFILE, CLEAR, EXIF = "color profile was ignored", "transparent parts", "EXIF data cannot be read"


def scene() -> Pixels:
    """A smooth picture with an edge and no symmetry."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack([across * 6, down * 10, 255 - across * 3 - down * 2], axis=2)
    image[4:12, 6:20] = (220, 30, 40)
    image[15:22, 25:37] = (250, 240, 10)
    return image.astype(np.uint8)


SCENE = scene()
GRAY: Pixels = np.asarray(Image.fromarray(SCENE).convert("L"))
ALPHA: Pixels = np.linspace(0, 255, WIDTH).astype(np.uint8)[None].repeat(HEIGHT, axis=0)


def rgb_of(gray: npt.NDArray[Any]) -> Pixels:
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def on_white(color: Pixels, alpha: npt.NDArray[Any]) -> Pixels:
    """Straight alpha over white, to the nearest."""
    share = alpha.astype(np.float64)[..., None] / 255
    return np.floor(color * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def saved(image: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(content, kind, **options)
    return content.getvalue()


def exif_block(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block with an orientation alone, in either byte order, as one of TIFF's number types."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I"}[kind], orientation)
    return mark + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value + struct.pack(order + "I", 0)


def turned_away(orientation: int, pixels: Pixels = SCENE) -> Pixels:
    """What a camera stores so that ``orientation`` turns it into ``pixels``."""
    return np.ascontiguousarray(
        {
            1: pixels,
            2: pixels[:, ::-1],
            3: pixels[::-1, ::-1],
            4: pixels[::-1],
            5: pixels.transpose(1, 0, 2),
            6: np.rot90(pixels),
            7: np.rot90(pixels, 2).transpose(1, 0, 2),
            8: np.rot90(pixels, -1),
        }[orientation]
    )


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation{}/></x:xmpmeta>'


def profile(name: str) -> bytes:
    """A color profile that is not sRGB."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]
    return made.replace(b"sRGB", b"Wide").replace("sRGB".encode("utf-16-be"), "Wide".encode("utf-16-be"))
