"""A decoded frame as a picture: RGB, upright, on white where it is transparent; and what that leaves out."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_runtime.errors import VideoError
from clsclip_runtime.images import MAX_PIXELS

_HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ISO/IEC 23091-2 that a usual screen does not show."""

_STRAIGHT = 0.02
"""How far an axis of a display matrix may lean, as a share of its length."""


def check_size(width: int, height: int, name: str) -> None:
    """Refuse frames that are larger than a picture may be. VideoError."""
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"the frames of {name} are {width}x{height}, {width * height:,} pixels, and the limit is {MAX_PIXELS:,}. "
            "Make them smaller: ffmpeg -i IN -vf scale=1920:-2 out.mp4"
        )


def image_of(frame: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a decoded frame, turned and mirrored as its metadata ask."""
    if _is_transparent(frame):
        colored = Image.fromarray(frame.to_ndarray(format="rgba"))
        white = Image.new("RGBA", colored.size, (255, 255, 255, 255))
        image = np.asarray(Image.alpha_composite(white, colored).convert("RGB"))
    else:
        image = frame.to_ndarray(format="rgb24")
    matrix = _display_matrix(frame)
    return np.ascontiguousarray(image if matrix is None else _turned(image, matrix))


def notes_of(frame: Any) -> dict[str, str]:
    """What the picture of a frame leaves out or assumes: sentences for the user, by kind."""
    found = {}
    if _is_transparent(frame):
        found["alpha"] = "its transparent parts are on white"
    if frame.color_trc in _HDR:
        found["hdr"] = f"its colors are HDR ({_HDR[frame.color_trc]}) and were taken as they are, so they look pale"
    if frame.interlaced_frame:
        found["interlaced"] = "it is interlaced; both fields are in one picture, so what moves has combs"
    matrix = _display_matrix(frame)
    if matrix is not None and not _is_straight(matrix):
        found["matrix"] = "it is to be shown at an angle that is no multiple of 90 degrees, and was left lying"
    return found


def _is_transparent(frame: Any) -> bool:
    return any(one.is_alpha for one in frame.format.components) or frame.format.name == "pal8"


def _display_matrix(frame: Any) -> tuple[float, float, float, float] | None:
    """a, b, c, d of how a frame is to be shown: x' = a x + c y, y' = b x + d y. None where it does not tell."""
    for one in frame.side_data:
        if one.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("=9i", bytes(one))
            return (a, b, c, d) if any((a, b, c, d)) else None
    return None


def _is_straight(matrix: tuple[float, float, float, float]) -> bool:
    a, b, c, d = (abs(one) for one in matrix)
    upright = b <= _STRAIGHT * a and c <= _STRAIGHT * d
    lying = a <= _STRAIGHT * b and d <= _STRAIGHT * c
    return (upright and a > 0 and d > 0) or (lying and b > 0 and c > 0)


def _turned(image: npt.NDArray[np.uint8], matrix: tuple[float, float, float, float]) -> npt.NDArray[np.uint8]:
    if not _is_straight(matrix):
        return image
    a, b, c, d = matrix
    lying = abs(b) > abs(a)
    across, down = (c, b) if lying else (a, d)
    turned = image.transpose(1, 0, 2) if lying else image
    return turned[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
