"""How a detector's outputs are read: one entry for every layout, and the rule that tells them apart.

What the layouts mean, for a batch of B pictures, N boxes and C classes:

    yolov5         (B, N, 5 + C)   YOLOv5, and YOLOv7 without built-in suppression: centre, size, objectness, C scores
    yolov7-nms     (N, 7)          YOLOv7 with built-in suppression: picture, x0, y0, x1, y1, class, score
    tensorrt-nms   four outputs    number (B, 1), boxes (B, M, 4) xyxy, scores (B, M), classes (B, M)
    yolov8         (B, 4 + C, N)   YOLOv8, v9, 11, 12, and ultralytics' own v3 and v5: centre, size, C scores
    yolov10        (B, M, 6)       YOLOv10, 26, and ultralytics with nms=True: x0, y0, x1, y1, score, class
    yolox          (B, N, 5 + C)   YOLOX: as yolov5, but in units of the grid; BGR in 0..255, picture at top left
    yolox-decoded  (B, N, 5 + C)   YOLOX exported with its decoding; must be named, since its shape is yolox's
    rtdetr         (B, M, 6)       RT-DETR of ultralytics: center, size, score, class; picture stretched to the input
    rtdetr-scores  (B, M, 4 + C)   RT-DETR of older ultralytics: center, size, C scores; picture stretched to the input

Positions are pixels of the input, and RT-DETR's are shares of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from clsclip_runtime.errors import DetectorError, OptionError

Values: TypeAlias = npt.NDArray[Any]
Shapes: TypeAlias = Sequence[Sequence[int]]
Size: TypeAlias = tuple[int, int]

STRIDES = (8, 16, 32)
GRIDS = (STRIDES, (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Strides of the heads that exist: the usual ones, P6, P2 and the tiny one of YOLOv3."""

ANCHORS = 3
"""Boxes per cell of YOLOv5 and YOLOv7; YOLOX and later ones have one."""

SCORE_SLACK = 0.01
"""Half and int8 graphs overshoot 0..1 by their rounding."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Boxes of one picture as the graph gives them.

    Attributes:
        boxes: (N, 4) xyxy in input pixels, any floats.
        scores: (N,) finite.
        classes: (N,) class numbers, any floats where the graph itself names the class.
    """

    boxes: Values
    scores: Values
    classes: Values


@dataclass(frozen=True)
class Layout:
    """One way in which detectors lay out their input and outputs.

    Attributes:
        read: outputs, (height, width) of the input and number of pictures to the candidates of each picture.
        suppressed: the graph drops overlapping boxes itself.
        extra: columns before the class scores; None where there are no class scores.
        axis: axis of those columns.
        channel_order: "rgb" or "bgr".
        input_scale: the input's value for input_scale: 1 or 255.
        letterbox: where the letterbox puts the picture, "center" or "top-left"; "stretch" has no border.
        in_shares: the graph gives positions as shares of the input, 0..1.
    """

    read: Callable[[Sequence[Values], Size, int], list[Candidates]]
    suppressed: bool
    extra: int | None = None
    axis: int = 2
    channel_order: str = "rgb"
    input_scale: float = 1.0
    letterbox: str = "center"
    in_shares: bool = False


def cells(size: Size, strides: Sequence[int] = STRIDES) -> int:
    """Cells of all grids over an input of (height, width) pixels."""
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def _yolov8(outputs: Sequence[Values], size: Size, images: int) -> list[Candidates]:
    scores = _probabilities(outputs[0][:, 4:])
    return [_best(_corners(rows[:4].T), own.T) for rows, own in zip(outputs[0], scores, strict=True)]


def _yolov5(outputs: Sequence[Values], size: Size, images: int) -> list[Candidates]:
    scores = _probabilities(outputs[0][:, :, 4:])
    return [_best(_corners(rows[:, :4]), own[:, 1:] * own[:, :1]) for rows, own in zip(outputs[0], scores, strict=True)]


def _yolox(outputs: Sequence[Values], size: Size, images: int) -> list[Candidates]:
    rows = outputs[0]
    if rows.shape[1] != cells(size):
        raise DetectorError(
            f"the detector gives {rows.shape[1]} boxes for an input of {size[1]}x{size[0]}, and YOLOX's raw grid has "
            f"{cells(size)}. Name the layout that it has: output_format='yolov5', or 'yolox-decoded'"
        )
    corner, stride = _grid(size)
    decoded = rows.copy()
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is dropped with its box
        decoded[:, :, :2] = (rows[:, :, :2] + corner) * stride
        decoded[:, :, 2:4] = np.exp(rows[:, :, 2:4]) * stride
    return _yolov5([decoded], size, images)


def _grid(size: Size) -> tuple[Values, Values]:
    """The corner (N, 2) of every cell in cells, x first, and its stride (N, 1) in pixels."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _yolov10(outputs: Sequence[Values], size: Size, images: int) -> list[Candidates]:
    scores = _probabilities(outputs[0][:, :, 4])
    return [
        Candidates(rows[:, :4], own, rows[:, 5].astype(np.float64))
        for rows, own in zip(outputs[0], scores, strict=True)
    ]


def _yolov7_nms(outputs: Sequence[Values], size: Size, images: int) -> list[Candidates]:
    rows = outputs[0]
    scores = _probabilities(rows[:, 6])
    if not np.isin(rows[:, 0], np.arange(images)).all():
        raise DetectorError(
            f"the detector gives boxes for pictures that were not asked: {images} went in. Name its layout, or "
            "export it again"
        )
    own = [rows[:, 0] == number for number in range(images)]
    return [Candidates(rows[at, 1:5], scores[at], rows[at, 5].astype(np.float64)) for at in own]


def _tensorrt_nms(outputs: Sequence[Values], size: Size, images: int) -> list[Candidates]:
    number, boxes, scores, classes = (np.asarray(one) for one in outputs)
    counts = number.reshape(len(boxes), -1)[:, 0]
    if not (np.isfinite(counts) & (counts >= 0) & (counts <= boxes.shape[1])).all():
        raise DetectorError(
            f"the detector says that it found {counts.tolist()} boxes, and it has room for {boxes.shape[1]}. "
            "Its file is damaged: export it again"
        )
    own = [slice(0, int(count)) for count in counts]
    return [
        Candidates(boxes[at, rows], _probabilities(scores[at, rows]), classes[at, rows].astype(np.float64))
        for at, rows in enumerate(own)
    ]


def _rtdetr(outputs: Sequence[Values], size: Size, images: int) -> list[Candidates]:
    scores = _probabilities(outputs[0][:, :, 4])
    return [
        Candidates(_corners(_in_pixels(rows, size)), own, rows[:, 5].astype(np.float64))
        for rows, own in zip(outputs[0], scores, strict=True)
    ]


def _rtdetr_scores(outputs: Sequence[Values], size: Size, images: int) -> list[Candidates]:
    scores = _probabilities(outputs[0][:, :, 4:])
    return [_best(_corners(_in_pixels(rows, size)), own) for rows, own in zip(outputs[0], scores, strict=True)]


def _in_pixels(rows: Values, size: Size) -> Values:
    """Centre and size (N, 4) in pixels of the input, of shares of it."""
    with np.errstate(over="ignore", invalid="ignore"):
        pixels: Values = rows[:, :4] * np.array([size[1], size[0]] * 2, np.float32)
    return pixels


LAYOUTS: Mapping[str, Layout] = {
    "yolov5": Layout(_yolov5, suppressed=False, extra=5),
    "yolov7-nms": Layout(_yolov7_nms, suppressed=True),
    "tensorrt-nms": Layout(_tensorrt_nms, suppressed=True),
    "yolov8": Layout(_yolov8, suppressed=False, extra=4, axis=1),
    "yolov10": Layout(_yolov10, suppressed=True),
    "yolox": Layout(_yolox, suppressed=False, extra=5, channel_order="bgr", input_scale=255.0, letterbox="top-left"),
    "yolox-decoded": Layout(
        _yolov5, suppressed=False, extra=5, channel_order="bgr", input_scale=255.0, letterbox="top-left"
    ),
    # Each of its queries gives one box: nothing is suppressed, by the graph or after it.
    "rtdetr": Layout(_rtdetr, suppressed=True, letterbox="stretch", in_shares=True),
    "rtdetr-scores": Layout(_rtdetr_scores, suppressed=True, extra=4, letterbox="stretch", in_shares=True),
}

ALIASES: Mapping[str, str] = {
    **{name: "yolov5" for name in ("yolov7",)},
    **{name: "yolov8" for name in ("yolov9", "yolo11", "yolo12")},
    **{name: "yolov10" for name in ("yolo26",)},
    **{name: "rtdetr" for name in ("rt-detr",)},
}
"""What people call detectors whose layout carries another's name."""


def layout_name(asked: str) -> str:
    """The layout's own name; OptionError if there is none called so."""
    name = ALIASES.get(asked, asked)
    if name not in LAYOUTS:
        raise OptionError(f"there is no layout {asked!r}. Choose one of: auto, {', '.join([*LAYOUTS, *ALIASES])}")
    return name


def find_layout(shapes: Shapes, size: Size, classes: int | None, metadata: Mapping[str, str], where: str) -> str:
    """The name of the layout of outputs of these shapes.

    YOLOv5 and YOLOX have outputs of one form. The number of their boxes tells them apart: YOLOX gives one for every
    cell of its grids, YOLOv5 three. Where it is neither, a file with class names in its metadata is YOLOv5, whose
    export writes them (YOLOX's does not).

    Args:
        shapes: of all outputs, in their order.
        size: (height, width) of the input.
        classes: number of classes; None where it is not known.
        metadata: of the file.
        where: the file, for messages.

    Raises:
        DetectorError: it is not known, or could be two of them.
    """
    task = metadata.get("task", "detect")
    if task != "detect":
        raise DetectorError(f"{where} is a model for the task {task!r}, not a detector. Export a model of task detect")
    ranks = [len(shape) for shape in shapes]
    first = list(shapes[0])
    if ranks == [2] and first[1] == 7:
        return "yolov7-nms"
    if ranks == [2, 3, 2, 2] and shapes[1][2] == 4:
        return "tensorrt-nms"
    if _is_rtdetr(metadata):
        found = _of_rtdetr(first, classes, metadata) if ranks == [3] else None
        if found is None:
            raise _unknown(where, shapes, "its metadata say RT-DETR, and ultralytics exports that in other shapes")
        return found
    if set(ranks) in ({5}, {4}):
        raise _unknown(where, shapes, "these are the raw heads: export it with its grid (YOLOv5, YOLOv7: --grid)")
    # Older exports of YOLOv5 give their raw heads beside the decoded boxes.
    if ranks[0] == 3 and set(ranks[1:]) <= {5}:
        found = _of_rows(first, size, classes, metadata)
        if found is not None:
            return found
    wanted = f" for {classes} classes" if classes is not None else ""
    raise _unknown(where, shapes, f"no layout has such outputs{wanted}")


def _is_rtdetr(metadata: Mapping[str, str]) -> bool:
    """Whether ultralytics' metadata name RT-DETR: by its head, or in older versions in the description alone."""
    named = re.search(r"\brt-?detr", metadata.get("description", ""), re.IGNORECASE)
    return metadata.get("head") == "RTDETRDecoder" or named is not None


def _of_rtdetr(shape: Sequence[int], classes: int | None, metadata: Mapping[str, str]) -> str | None:
    """The layout of RT-DETR's one output; None if it has none of them."""
    columns = shape[2]
    # With two classes both layouts have six columns; the versions that write six name the head.
    if columns == 6 and (classes not in (None, 2) or "head" in metadata):
        return "rtdetr"
    return "rtdetr-scores" if columns > 4 and classes in (None, columns - 4) else None


def _of_rows(shape: Sequence[int], size: Size, classes: int | None, metadata: Mapping[str, str]) -> str | None:
    """The layout of one output of three axes; None if it is not known."""
    _, rows, columns = shape
    grids = {cells(size, strides) for strides in GRIDS}
    of_anchors = {ANCHORS * count for count in grids}
    with_names = bool(metadata.get("names", "").strip())
    if columns == 6 and (metadata.get("end2end") == "True" or classes not in (None, 1)):
        return "yolov10"
    if columns >= 6 and classes in (None, columns - 5):
        if rows == cells(size):
            return "yolox"
        if rows in of_anchors:
            return "yolov5"
        if columns == 6:
            return "yolov10"
        if classes is not None and with_names:
            return "yolov5"
    if rows >= 5 and (columns in grids if classes is None else rows == 4 + classes):
        return "yolov8"
    return None


def _unknown(where: str, shapes: Shapes, why: str) -> DetectorError:
    shown = ", ".join(str(tuple(shape)) for shape in shapes)
    return DetectorError(
        f"{where} gives outputs of shape {shown}, and their layout is not known: {why}. If it is one of "
        f"{', '.join(LAYOUTS)}, name it (output_format=...) and give its class names (names=...); else export it again"
    )


def class_count(name: str, shapes: Shapes, where: str) -> int | None:
    """Number of classes that outputs of these shapes have in the layout ``name``; None where they do not say it.

    Raises:
        DetectorError: the layout cannot have such outputs.
    """
    layout = LAYOUTS[name]
    ranks = [len(shape) for shape in shapes]
    fits = {
        "yolov7-nms": ranks == [2] and shapes[0][-1] == 7,
        "tensorrt-nms": ranks == [2, 3, 2, 2] and shapes[1][-1] == 4,
        "yolov10": ranks[:1] == [3] and shapes[0][-1] == 6,
        "rtdetr": ranks[:1] == [3] and shapes[0][-1] == 6,
    }.get(name, ranks[:1] == [3] and layout.extra is not None and shapes[0][layout.axis] > layout.extra)
    if not fits:
        shown = ", ".join(str(tuple(shape)) for shape in shapes)
        raise DetectorError(
            f"{where} gives outputs of shape {shown}, which the layout {name} cannot have. Leave the layout out "
            "(output_format='auto'), or name the right one"
        )
    return None if layout.extra is None else int(shapes[0][layout.axis]) - layout.extra


def _corners(rows: Values) -> Values:
    """Centre, width, height (N, 4) to xyxy."""
    half = rows[:, 2:4] / 2
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)


def _best(boxes: Values, scores: Values) -> Candidates:
    """Every box with the surest of its classes; ``scores`` is (N, C)."""
    classes = scores.argmax(axis=1)
    return Candidates(boxes, np.take_along_axis(scores, classes[:, None], axis=1)[:, 0], classes)


def _probabilities(scores: Values) -> Values:
    """The scores cut to 0..1; DetectorError if they cannot be scores."""
    # NaN passes through min and max, so both comparisons fail for it.
    low, high = (scores.min(), scores.max()) if scores.size else (0, 0)
    if low >= -SCORE_SLACK and high <= 1 + SCORE_SLACK:
        return np.clip(scores, 0, 1)
    if not np.isfinite(scores).all():
        raise DetectorError("the detector gave NaN or infinity as a score: its file is damaged. Export it again")
    raise DetectorError(
        f"the detector gave scores from {low:.4g} to {high:.4g}, and scores are from 0 to 1: its outputs are read in a "
        "layout that they do not have, or it was exported without its last sigmoid. Name the layout, or export it again"
    )
