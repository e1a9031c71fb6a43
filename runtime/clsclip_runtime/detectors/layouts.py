"""How a detector's output is read: one small function for every layout."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clsclip_runtime.errors import DetectorError

Floats: TypeAlias = npt.NDArray[np.float32]

Layout: TypeAlias = Callable[[Floats], tuple[Floats, Floats]]
"""The raw output to boxes (N, 4) xyxy in input pixels and scores (N, C)."""


def yolov8(output: Floats) -> tuple[Floats, Floats]:
    """(1, 4 + C, N): centre x, centre y, width, height in input pixels, then C class scores."""
    rows = output[0].T
    half = np.abs(rows[:, 2:4]) / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1), rows[:, 4:]


def find_layout(shape: list[object], classes: int, where: str) -> Layout:
    """The layout of an output of this shape (names or None for dynamic axes).

    Raises:
        DetectorError: it is not known.
    """
    if len(shape) == 3 and shape[1] == 4 + classes:
        return yolov8
    raise DetectorError(
        f"{where} gives an output of shape {shape} for {classes} classes, and (1, {4 + classes}, N) is expected. "
        "Export a YOLOv8 or YOLO11 detector to ONNX without built-in suppression (nms=False)"
    )


def parse_names(text: str, where: str) -> tuple[str, ...]:
    """Class names from ONNX metadata, which holds a Python literal: ``{0: 'person', 1: 'bicycle'}`` or a list.

    Raises:
        DetectorError: there are none, or they are not names numbered from 0.
    """
    if not text.strip():
        raise DetectorError(f"{where} holds no class names in its metadata. Give them: names=(...)")
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise DetectorError(f"{where} has class names that cannot be read ({error}). Give them: names=(...)") from error
    if isinstance(found, dict) and sorted(found, key=repr) == sorted(range(len(found)), key=repr):
        found = [found[number] for number in range(len(found))]
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(name, str) and name for name in found):
        raise DetectorError(f"{where} has class names that are not numbered from 0. Give them: names=(...)")
    return tuple(found)
