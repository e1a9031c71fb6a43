"""From a picture to the encoder's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from clsclip_runtime.bundle.specs import ImageSpec


def cropped(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return the part of a picture inside ``box``, xyxy in whole pixels, which must lie within the picture.

    Pillow's own ``crop`` holds what it gives against a limit that the whole process shares.
    """
    left, top, right, bottom = box
    return image.resize((right - left, bottom - top), Image.Resampling.NEAREST, box=box)


def preprocess(image: Image.Image, spec: ImageSpec) -> npt.NDArray[np.float32]:
    """Return the encoder's input (3, S, S) float32 for an RGB picture: resized as 8-bit, scaled to 0..1, normalized."""
    resampling = Image.Resampling[spec.interpolation.upper()]
    small = image.resize((spec.size, spec.size), resampling)
    pixels = np.asarray(small, dtype=np.float32) / np.float32(255)
    mean, std = np.asarray(spec.mean, dtype=np.float32), np.asarray(spec.std, dtype=np.float32)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1), dtype=np.float32)
