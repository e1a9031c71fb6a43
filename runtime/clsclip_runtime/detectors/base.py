"""Running a detector: pictures in, boxes with a class and a score out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Floats
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.bundle.graph_rules import DETECTORS
from clsclip_runtime.bundle.opening import DETECTOR, Bundle
from clsclip_runtime.bundle.specs import DetectorSpec
from clsclip_runtime.detectors.layouts import LAYOUTS, Candidates
from clsclip_runtime.detectors.letterbox import GREY, Placed, letterbox
from clsclip_runtime.detectors.names import read_names
from clsclip_runtime.detectors.nms import MOST_CANDIDATES, keep_best
from clsclip_runtime.detectors.spec import described
from clsclip_runtime.errors import DetectorError, OptionError
from clsclip_runtime.forks import tell_after_fork
from clsclip_runtime.options import number_in
from clsclip_runtime.protocols import Backend, Graph, close_with
from clsclip_runtime.regions.proposals import Proposals
from clsclip_runtime.renamed import refuses_old_names

Pixels: TypeAlias = npt.NDArray[np.uint8]

OPEN_BATCH = 16
"""Most pictures per call of a detector that takes any number: enough to keep a GPU busy."""

_SHARE_SLACK = 0.5
"""How far boxes of things at the picture's edges reach beyond it, as shares."""

OPEN_BATCH_PIXELS = OPEN_BATCH * 1280 * 1280
"""Most input pixels of such a call: 300 MiB of float32."""


class Detector:
    """A detector in an engine. Safe to share between threads.

        detector = Detector.load("yolov8n.onnx")
        found = detector(picture)                     # (H, W, 3) uint8 RGB
        names = [detector.names[one] for one in found.classes]

    It runs in whatever engine the model does, and what it gives is decoded on the host. From a GPU that is its raw
    output: 2.8 MB a picture for YOLOv8 at 640 px (84 x 8400 float32, beside 4.9 MB of pixels that go up), 7 KB for
    files that choose the boxes themselves (300 x 6). After it only the boxes go on.
    """

    def __init__(
        self,
        graph: Graph,
        spec: DetectorSpec,
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
        max_detections: int = 300,
        name: str = "detector",
        notes: tuple[str, ...] = (),
        load: Callable[[], Graph] | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        """Wrap a loaded graph; see ``load``.

        Args:
            graph: loaded.
            spec: how it is run.
            confidence, iou, max_detections: see ``load``.
            name: for messages and results.
            notes: what had to be assumed about the file.
            load: loads the graph again, in a forked child; None where that is not possible.
            recipe: arguments of ``Detector.load`` that make this one again in another process; None for none.

        Raises:
            OptionError: a value makes no sense.
            DetectorError: the graph does not take one input.
        """
        self._confidence, self._iou = number_in("confidence", confidence, 0, 1), number_in("iou", iou, 0, 1)
        if isinstance(max_detections, bool) or not isinstance(max_detections, int) or max_detections < 1:
            raise OptionError(f"max_detections must be a whole number of 1 or more, and it is {max_detections!r}")
        if len(graph.inputs) != 1:
            raise DetectorError(
                f"a detector takes one input, and this takes {', '.join(graph.inputs)}. Export it again"
            )
        self._graph, self._spec, self._name, self._notes = graph, spec, name, notes
        close_with(self, [graph])
        self._layout = LAYOUTS[spec.output_format]
        self._most = max_detections
        self._load, self._recipe = load, recipe
        self._forked, self._fork_lock = False, threading.Lock()
        tell_after_fork(self)

    @classmethod
    @refuses_old_names
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        names: Sequence[str] | str | os.PathLike[str] | None = None,
        output_format: str = "auto",
        confidence: float = 0.25,
        iou: float = 0.7,
        max_detections: int = 300,
        backend: str | Backend = "auto",
        backend_options: Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> Detector:
        """Load a user's own ONNX file.

        Args:
            path: a detector of one of the layouts that ``clsclip_runtime.detectors.layouts`` describes.
            names: its class names in their order, a file of them, or "coco"; None takes those of its metadata, and
                COCO's, with a note, for a file of 80 classes without names.
            output_format: how its outputs are laid out; "auto" finds it from their shapes and the metadata.
            confidence: boxes whose score is not above this are dropped.
            iou: of two boxes of one class that overlap more than this, the less sure one is dropped; it has no effect
                on files that do this themselves.
            max_detections: at most so many boxes, the surest.
            backend: ``auto``, a name such as ``onnxruntime-cpu``, or a backend object.
            backend_options: of a backend that is named, such as ``{"precision": "bf16"}`` of ``openvino``.
            threads: threads for one call; None lets the backend decide.

        Raises:
            DetectorError: the file is absent, is no ONNX model, has no names, or its layout is not known.
            OptionError: a value makes no sense.
            BackendError: no engine works here, or it cannot load the file.
        """
        given = None if names is None else read_names(names)
        recipe = {
            **{
                "path": str(Path(path).absolute()),
                "names": given,
                "output_format": output_format,
                "confidence": confidence,
            },
            **{"iou": iou, "max_detections": max_detections, "threads": threads},
            **{"backend": backend, "backend_options": dict(backend_options or {})},
        }
        if not isinstance(backend, str):
            if backend_options:
                raise OptionError("backend_options belong to a backend that is named. Give them to the object itself")
            engine = backend
        else:
            engine = select_backend(backend, threads=threads, options=backend_options)
        spec, notes = described(Path(path), given, output_format, engine)
        return cls(
            engine.load(read_graph(Path(path), DETECTORS)),
            spec,
            confidence=confidence,
            iou=iou,
            max_detections=max_detections,
            name=Path(path).stem,
            notes=notes,
            load=lambda: engine.load(read_graph(Path(path), DETECTORS)),
            recipe=recipe if isinstance(backend, str) else None,
        )

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        backend: Backend,
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
        max_detections: int = 300,
    ) -> Detector:
        """Load the detector that a bundle carries; see ``load`` for the numbers.

        Raises:
            DetectorError: the bundle carries none.
            OptionError: a value makes no sense.
            BackendError: the engine cannot load it.
        """
        spec = bundle.manifest.detector
        if spec is None:
            raise DetectorError(
                f"{bundle.folder} carries no detector. Add one: clsclip-export --from-bundle {bundle.folder.name} "
                "--detector yolo11n.onnx --out new.clsclip"
            )

        def load() -> Graph:
            return backend.load(bundle.graph(DETECTOR))  # read and verified anew: its file may have changed since

        return cls(
            load(),
            spec,
            confidence=confidence,
            iou=iou,
            max_detections=max_detections,
            name=f"of {bundle.manifest.name}",
            load=load,
        )

    @property
    def name(self) -> str:
        """What it is called in messages and results: its file's name without suffix, or its bundle's name."""
        return self._name

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; ``Proposals.classes`` are positions in it."""
        return self._spec.names

    @property
    def class_agnostic(self) -> bool:
        """Whether it knows no classes, so that its boxes may be anything."""
        return self._spec.class_agnostic

    @property
    def spec(self) -> DetectorSpec:
        """How the detector is run."""
        return self._spec

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be assumed about the file, for the user."""
        return self._notes

    @property
    def batch_size(self) -> int:
        """Pictures that go through in one call of the engine."""
        room = OPEN_BATCH_PIXELS // (self._spec.height * self._spec.width)
        return self._spec.batch or max(1, min(OPEN_BATCH, room))

    def __call__(self, image: Pixels, confidence: float | None = None) -> Proposals:
        """Boxes in a picture (H, W, 3) uint8 RGB. Raises as ``batch``."""
        return self.batch([image], confidence)[0]

    def batch(self, images: Sequence[Pixels], confidence: float | None = None) -> list[Proposals]:
        """Find boxes in every picture, in ceil(pictures / batch_size) calls of the engine, the surest first.

        They lie inside the picture and are never empty. Those of a detector that knows no classes have none.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.
            confidence: as in ``load``, for this call; None is what ``load`` was given.

        Raises:
            OptionError: one is not such an array, or ``confidence`` makes no sense.
            DetectorError: the outputs are not of the layout, or are not finite numbers.
            BackendError: the engine failed.
        """
        for image in images:
            is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
            if not is_array or image.shape[2] != 3 or 0 in image.shape:
                shown = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image)
                raise OptionError(f"a picture must be (H, W, 3) uint8, and it is {shown}")
        least = self._confidence if confidence is None else number_in("confidence", confidence, 0, 1)
        step = self.batch_size
        found = []
        for start in range(0, len(images), step):
            chunk = images[start : start + step]
            placed, candidates = self._run(chunk)
            found += [self._choose(own, where, least) for own, where in zip(candidates, placed, strict=False)]
        return found

    def _run(self, images: Sequence[Pixels]) -> tuple[list[Placed], list[Candidates]]:
        """One call: where every picture lies in the input, and its candidates (and those of the padding)."""
        spec = self._spec
        size = (spec.height, spec.width)
        count = spec.batch or len(images)
        canvases = np.full((count, *size, 3), GREY, np.uint8)
        placed = []
        for at, image in enumerate(images):
            canvases[at], where = letterbox(image, size, place=spec.letterbox)
            placed.append(where)
        if spec.channel_order == "bgr":
            canvases = canvases[..., ::-1]
        values = np.ascontiguousarray(canvases.transpose(0, 3, 1, 2), np.float32)
        values /= np.float32(255 / spec.input_scale)
        graph = self._running()
        outputs = graph.run({graph.inputs[0]: values.astype(spec.input_type, copy=False)})
        read = [np.asarray(outputs[name], np.float32) for name in graph.outputs]
        self._check(read, count)
        return placed, self._layout.read(read, size, count)

    def after_fork(self) -> None:
        """Leave the graph to the parent, in a forked child; it is loaded again when it is first needed."""
        self._forked, self._fork_lock = True, threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process loads the same file again. OptionError where there is none to load."""
        if self._recipe is None:
            raise OptionError(
                "only a Detector that Detector.load made by the name of a backend can be sent to another process. Load "
                "it there, or give its file: Segmenter.load(..., detector='yolo11n.onnx')"
            )
        return _load_again, (type(self), dict(self._recipe))

    def _running(self) -> Graph:
        """The graph; in a forked child it is loaded when it is first needed."""
        if self._forked:
            with self._fork_lock:
                if self._forked:
                    if self._load is None:
                        raise DetectorError(
                            "this detector was loaded before the process was forked. Load it after that"
                        )
                    self._graph, self._forked = self._load(), False
                    close_with(self, [self._graph])
        return self._graph

    def _check(self, outputs: Sequence[Floats], count: int) -> None:
        """DetectorError unless the outputs have the axes of the layout, for so many pictures."""
        names, spec = len(self._spec.names), self._spec
        ranks = [output.ndim for output in outputs]
        shapes = [output.shape for output in outputs]
        if spec.output_format == "yolov7-nms":
            fits = ranks[:1] == [2] and shapes[0][1] == 7
        elif spec.output_format == "tensorrt-nms":
            fits = ranks == [2, 3, 2, 2] and {len(output) for output in outputs} == {count}
            fits = fits and shapes[1][2] == 4 and shapes[1][1] == shapes[2][1] == shapes[3][1] and shapes[0][1] == 1
        else:
            columns = 6 if self._layout.extra is None else self._layout.extra + names
            fits = ranks[:1] == [3] and shapes[0][0] == count and shapes[0][self._layout.axis] == columns
        if not fits:
            raise DetectorError(
                f"the detector gave outputs of shape {', '.join(map(str, shapes))} for {count} pictures, which the "
                f"layout {spec.output_format} with {names} classes does not have. Name the right layout and names, or "
                "export it again"
            )

    def _choose(self, found: Candidates, placed: Placed, confidence: float) -> Proposals:
        """The sure boxes that stay, in pixels of the picture, the surest first."""
        wanted = found.scores > confidence
        sure = wanted & np.isfinite(found.boxes).all(axis=1)
        boxes, scores = found.boxes[sure], found.scores[sure]
        self._check_unit(boxes)
        classes = self._class_numbers(found.classes[sure])
        if self._layout.suppressed:
            kept = np.argsort(-scores, kind="stable")[: self._most]
        else:
            # Before the boxes are cut at the picture's edges, as they were compared in training.
            kept = keep_best(boxes, scores, classes, self._iou, self._most)
        inside = placed.to_image(boxes[kept])
        whole = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
        left_out = _left_out(
            {
                "without finite corners": int(wanted.sum() - sure.sum()),
                f"beyond the {self._most} surest": max(0, len(boxes) - self._most) if self._layout.suppressed else 0,
                f"beyond the {MOST_CANDIDATES} surest before overlapping ones are dropped": 0
                if self._layout.suppressed
                else max(0, len(boxes) - MOST_CANDIDATES),
                "outside the picture": int((~whole).sum()),
            }
        )
        if not self._layout.suppressed and len(kept) == self._most:
            left_out = (*left_out, f"the detector's {self._most} surest boxes were taken; there may be more")
        found_here = Proposals(
            inside[whole],
            scores[kept][whole].astype(np.float32),
            classes[kept][whole],
            self.names,
            f"detector {self.name}",
            (*self.notes, *left_out),
        )
        return found_here.anonymous() if self.class_agnostic else found_here

    def _check_unit(self, boxes: npt.NDArray[Any]) -> None:
        """DetectorError if sure boxes in pixels look like shares of the input: an unknown family of detectors."""
        if self._layout.in_shares or not len(boxes):
            return
        if boxes.min() >= -_SHARE_SLACK and boxes.max() <= 1 + _SHARE_SLACK:
            raise DetectorError(
                "all boxes of the detector lie within one pixel of its input: they are shares of it, which the layout "
                f"{self._spec.output_format} does not have. Name the right layout (output_format='rtdetr'), or export "
                "it again"
            )

    def _class_numbers(self, classes: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
        numbers = classes.astype(np.float64)
        wrong = ~((numbers >= 0) & (numbers < len(self.names)) & (numbers == np.floor(numbers)))
        if wrong.any():
            raise DetectorError(
                f"the detector gave the class {numbers[wrong][0]:g}, and there are {len(self.names)} class names. "
                "Give the right names (names=...), or name the right layout (output_format=...)"
            )
        return numbers.astype(np.int64)


def _left_out(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Notes about boxes that were dropped, each reason with its number."""
    return tuple(
        f"{count} box{'es' if count > 1 else ''} of the detector {why} {'were' if count > 1 else 'was'} left out"
        for why, count in counts.items()
        if count
    )


def _load_again(cls: type[Detector], recipe: dict[str, Any]) -> Detector:
    return cls.load(**recipe)
