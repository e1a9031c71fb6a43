"""What every detector offers, and which one reads a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clsclip_runtime.backends import Backend
from clsclip_runtime.bundle import Bundle
from clsclip_runtime.detectors.layouts import Layout, find_layout, parse_names
from clsclip_runtime.detectors.letterbox import letterbox
from clsclip_runtime.detectors.nms import keep_best
from clsclip_runtime.errors import DetectorError, OptionError

Floats: TypeAlias = npt.NDArray[np.float32]

DYNAMIC_SIZE = 640
"""Input side in pixels of detectors that take any."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one picture, the surest first.

    Attributes:
        boxes: (N, 4) float32, xyxy in pixels, inside the picture and never empty.
        classes: (N,) int64, positions in the detector's names.
        scores: (N,) float32 in 0..1.
    """

    boxes: Floats
    classes: npt.NDArray[np.int64]
    scores: Floats

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.boxes)


class Detector:
    """A detector in ONNX Runtime.

    detector = Detector.load("yolov8n.onnx")
    found = detector(picture)                     # (H, W, 3) uint8 RGB
    """

    def __init__(
        self,
        session: object,
        layout: Layout,
        names: tuple[str, ...],
        size: tuple[int, int],
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
        max_detections: int = 300,
    ) -> None:
        """Wrap an ONNX Runtime session; see ``load``. ``size`` is the input's (height, width)."""
        for name, value in (("confidence", confidence), ("iou", iou)):
            if not 0 <= value <= 1:
                raise OptionError(f"{name} must be from 0 to 1, and it is {value!r}")
        self._session, self._layout, self._size = session, layout, size
        self._names = names
        self._confidence, self._iou, self._most = confidence, iou, max_detections

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        names: tuple[str, ...] | None = None,
        confidence: float = 0.25,
        iou: float = 0.7,
        max_detections: int = 300,
        threads: int | None = None,
        backend: Backend | None = None,
    ) -> Detector:
        """Load an ONNX file.

        Args:
            path: a YOLOv8-style detector: input (1, 3, H, W) RGB in 0..1, output (1, 4 + C, N) with boxes as centre,
                width and height in input pixels, and class scores.
            names: its C class names; None reads them from the file's metadata.
            confidence: boxes below this score are dropped.
            iou: of two boxes of one class that overlap more than this, the less sure one is dropped.
            max_detections: at most so many boxes, the surest.
            threads: threads for one picture; None lets ONNX Runtime decide.

        Raises:
            DetectorError: the file is absent, is no ONNX model, has no names, or its layout is not known.
            OptionError: a value makes no sense.
        """
        import onnxruntime

        file = Path(path)
        if not file.is_file():
            raise DetectorError(f"no such detector: {file}. Give an ONNX file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        # ONNX Runtime's errors share no base class of their own.
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise DetectorError(
                f"{file} cannot be loaded by onnxruntime: {reason}. Export the detector again"
            ) from error
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        found = names if names is not None else parse_names(metadata.get("names", ""), str(file))
        size = _input_size(session.get_inputs(), file)
        layout = find_layout(list(session.get_outputs()[0].shape), len(found), str(file))
        return cls(session, layout, found, size, confidence=confidence, iou=iou, max_detections=max_detections)

    @property
    def name(self) -> str:
        """Of its file."""
        return "detector"

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; ``Detections.classes`` are positions in it."""
        return self._names

    @property
    def agnostic(self) -> bool:
        """Whether its boxes may be anything."""
        return len(self._names) == 1 and self._names[0] in ("thing", "object", "item")

    def batch(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[Detections]:
        """One Detections a picture."""
        return [self(picture) for picture in pictures]

    @classmethod
    def from_bundle(cls, bundle: Bundle, backend: Backend) -> Detector:
        """The detector of a bundle."""
        return cls.load(bundle.path("detector.onnx"), backend=backend)

    def __call__(self, picture: npt.NDArray[np.uint8]) -> Detections:
        """Boxes in a picture (H, W, 3) uint8 RGB.

        Raises:
            OptionError: it is not such an array.
            DetectorError: the model failed, or gave NaN.
        """
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise OptionError(f"a picture must be (H, W, 3) uint8, and it is {picture.shape} {picture.dtype}")
        values, placed = letterbox(picture, self._size)
        session = self._session
        try:
            output = session.run(None, {session.get_inputs()[0].name: values})[0]  # type: ignore[attr-defined]
        except Exception as error:
            raise DetectorError(f"the detector failed: {' '.join(str(error).split())[:300]}") from error
        boxes, scores = self._layout(np.asarray(output, np.float32))
        if not np.isfinite(scores).all():
            raise DetectorError("the detector gave NaN or infinity: its file is damaged. Export it again")
        classes = scores.argmax(axis=1).astype(np.int64)
        best = scores[np.arange(len(scores)), classes]
        sure = (best >= self._confidence) & np.isfinite(boxes).all(axis=1)
        inside = placed.to_picture(boxes[sure])
        classes, best = classes[sure], best[sure]
        whole = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
        inside, classes, best = inside[whole], classes[whole], best[whole]
        kept = keep_best(inside, best, classes, self._iou)[: self._most]
        return Detections(inside[kept], classes[kept], best[kept])


def _input_size(inputs: list[object], file: Path) -> tuple[int, int]:
    """(height, width) of the one input, which must be (1, 3, H, W) or dynamic."""
    shape = list(getattr(inputs[0], "shape", [])) if len(inputs) == 1 else []
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise DetectorError(f"{file} takes {len(inputs)} inputs of shape {shape}; a detector takes one (1, 3, H, W)")
    height, width = (one if isinstance(one, int) and one > 0 else DYNAMIC_SIZE for one in shape[2:])
    return height, width
