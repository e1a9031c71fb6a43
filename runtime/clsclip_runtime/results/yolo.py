"""A result as labels of YOLO's segmentation: one line for each connected part, which is what YOLO calls an object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clsclip_runtime.results.codecs.outlines import at_least_three, outlines

if TYPE_CHECKING:
    from clsclip_runtime.masks.rle import RleMask
    from clsclip_runtime.results.result import Result


def yolo_lines(result: Result) -> str:
    """``class x y x y ...`` a line, the class counted from 0, the points as shares of the image.

    The points are centers of pixels: whoever multiplies by the size and cuts the fraction off, as ultralytics does, has
    the pixel. Holes are joined by slits.
    """
    return "".join(lines_of_mask(one.index, one.rle()) for one in result.instances)


def lines_of_mask(index: int, mask: RleMask) -> str:
    """The lines of one mask; see ``yolo_lines``. ``index`` is of its class."""
    width, height = mask.size
    lines = []
    for line in outlines(mask, centers=True):
        points = (f"{(x + 0.5) / width:.8f} {(y + 0.5) / height:.8f}" for x, y in at_least_three(line.tolist()))
        lines.append(f"{index} {' '.join(points)}\n")
    return "".join(lines)


def data_yaml(classes: Sequence[str], train: str = "images", val: str = "images") -> str:
    """The description of a data set; texts are JSON's, as YAML's.

    Args:
        classes: in the order of their numbers.
        train, val: the folders of the images, which lie in ``images`` beside ``labels``.
    """
    names = "".join(f"  {at}: {json.dumps(name, ensure_ascii=False)}\n" for at, name in enumerate(classes))
    return f"path: .\ntrain: {train}\nval: {val}\nnames:\n{names}"
