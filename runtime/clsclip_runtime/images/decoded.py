"""What a picture is once it has been read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[np.uint8]"
    " | DecodedImage"
)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An upright 8-bit RGB image and the name of where it came from.

    ``open_image`` makes one in any thread; a segmenter takes it as a source and decodes nothing.

    Attributes:
        image: upright, mode RGB.
        source: its path or address, or a name such as ``<array>``.
        notes: sentences for the user about what was left out, assumed, or could not be read.
    """

    image: Image.Image
    source: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        width, height = self.image.size
        return width, height
