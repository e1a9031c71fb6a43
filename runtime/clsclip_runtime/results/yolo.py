"""A result as labels of YOLO's segmentation: one line for each connected part, which is what YOLO calls an object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clsclip_runtime.results.codecs.outlines import outlines

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result


def yolo_lines(result: Result) -> str:
    """``class x y x y ...`` a line, the class counted from 0, the points as shares of the image.

    The points are centers of pixels: whoever multiplies by the size and cuts the fraction off, as ultralytics does, has
    the pixel. Holes are joined by slits.
    """
    width, height = result.size
    lines = []
    for one in result.instances:
        for line in outlines(one.rle(), centers=True):
            points = (f"{(x + 0.5) / width:.8f} {(y + 0.5) / height:.8f}" for x, y in line.tolist())
            lines.append(f"{one.index} {' '.join(points)}\n")
    return "".join(lines)


def data_yaml(classes: Sequence[str]) -> str:
    """The description of a data set whose pictures lie in ``images`` beside ``labels``; texts are JSON's, as YAML's."""
    names = "".join(f"  {at}: {json.dumps(name, ensure_ascii=False)}\n" for at, name in enumerate(classes))
    return f"path: .\ntrain: images\nval: images\nnames:\n{names}"
