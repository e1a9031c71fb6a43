"""What must be known to run a detector, found in its ONNX file."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clsclip_runtime.backends.sessions import open_session
from clsclip_runtime.bundle.graph_file import read_walked
from clsclip_runtime.bundle.graph_rules import DETECTORS
from clsclip_runtime.bundle.manifest import (
    DETECTOR_INPUT_TYPES,
    DETECTOR_SIDES,
    MAX_DETECTOR_BATCH,
    MAX_DETECTOR_PIXELS,
    detector_of,
)
from clsclip_runtime.bundle.section import Section
from clsclip_runtime.bundle.specs import DetectorSpec
from clsclip_runtime.detectors.layouts import LAYOUTS, Shapes, Size, class_count, find_layout, layout_name
from clsclip_runtime.detectors.names import COCO_NAMES, parse_names, read_names
from clsclip_runtime.errors import BundleError, DetectorError, one_line
from clsclip_runtime.extras import onnxruntime_command
from clsclip_runtime.libraries import FATAL_ONLY, import_onnxruntime, reason_of
from clsclip_runtime.paths import absence, is_dir, is_file
from clsclip_runtime.protocols import Backend, GraphFile
from clsclip_runtime.text.matching import is_class_agnostic

DYNAMIC_SIDE = 640
"""Input side in pixels of detectors that take any and do not say which they were exported for."""

MAX_METADATA_CHARACTERS = 1 << 20
"""Of all metadata of a file; the class names of 20,000 classes take a third of it."""

OTHER_FORMATS = {
    (".pt", ".pth", ".torchscript", ".ckpt", ".safetensors"): "PyTorch",
    (".engine", ".plan", ".trt"): "TensorRT",
    (".xml", ".bin"): "OpenVINO",
    (".tflite", ".pb", ".keras", ".h5"): "TensorFlow",
    (".mlmodel", ".mlpackage"): "Core ML",
    (".param", ".mnn", ".rknn", ".hef", ".blob"): "another engine",
}
"""What detectors are exported to beside ONNX, by suffix."""

_SIDES = re.compile(r"\s*[\[(]?\s*([0-9]{2,4})\s*(?:,\s*([0-9]{2,4})\s*)?[\])]?\s*")
_NUMBERS = ("tensor(float)", "tensor(float16)", "tensor(double)", "tensor(int32)", "tensor(int64)")
_log = logging.getLogger(__name__)


def read_spec(
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | str | os.PathLike[str] | None = None,
    output_format: str = "auto",
    license: str | None = None,
) -> tuple[DetectorSpec, tuple[str, ...]]:
    """Read an ONNX file's metadata, input and outputs.

    Args:
        path: the file.
        names: its class names, see ``names.read_names``; None takes those of its metadata.
        output_format: a name of ``layouts.LAYOUTS`` or of ``layouts.ALIASES``; "auto" finds it.
        license: of its weights; None takes that of its metadata.

    Returns:
        The spec, and notes for the user about what had to be assumed.

    Raises:
        DetectorError: the file is absent, is no ONNX model, has no names, or its layout is not known.
        OptionError: there is no such layout.
    """
    asked = None if output_format == "auto" else layout_name(output_format)
    file = Path(path)
    _check_kind(file)
    graph, _ = read_walked(file, DETECTORS)
    session = _open(file, graph)
    metadata = _read_metadata(session, file)
    batch, size, input_type = _read_input(session.get_inputs(), metadata, file)
    shapes = _output_shapes(session, batch, size, input_type, file)
    given = None
    if names is not None:
        given = read_names(names)
    elif metadata.get("names", "").strip():
        given = parse_names(metadata["names"], str(file))
    chosen = asked or find_layout(shapes, size, None if given is None else len(given), metadata, str(file))
    count = class_count(chosen, shapes, str(file))
    notes: tuple[str, ...] = ()
    if given is None:
        given = _names_by_count(count, file)
        notes = (f"{file.name} holds no class names; it has 80 classes, so COCO's names are taken",)
    if count is not None and count != len(given):
        raise DetectorError(
            f"{file} has {count} classes in the layout {chosen}, and there are {len(given)} class names. "
            "Give the right names (names=...), or name the right layout (output_format=...)"
        )
    for note in notes:
        _log.warning("%s", note)
    found = LAYOUTS[chosen]
    spec = DetectorSpec(
        output_format=chosen,
        names=given,
        height=size[0],
        width=size[1],
        channel_order=found.channel_order,
        input_scale=found.input_scale,
        letterbox=found.letterbox,
        batch=batch,
        input_type=input_type,
        class_agnostic=is_class_agnostic(given),
        license=license or one_line(metadata.get("license", ""), 300) or "unknown",
    )
    return spec, notes


def described(
    path: Path, names: Sequence[str] | None, output_format: str, engine: Backend
) -> tuple[DetectorSpec, tuple[str, ...]]:
    """As :func:`read_spec`, but in the engine's own process where it has one: ONNX Runtime opens the file there.

    Raises:
        DetectorError, OptionError: as there.
        BackendError: that process has ended.
    """
    describe = getattr(engine, "describe_detector", None)
    if describe is None:
        return read_spec(path, names=names, output_format=output_format)
    found, notes = describe(path, names, output_format)
    try:
        return detector_of(Section(found, "detector")), notes
    except BundleError as error:
        raise DetectorError(f"the isolated process says of {path} what no detector is: {error}") from error


def _open(file: Path, graph: GraphFile) -> Any:
    """An ONNX Runtime session that starts quickly and is only asked what it is."""
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise DetectorError(f"onnxruntime cannot be imported ({error}). Run: {onnxruntime_command()}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # ONNX Runtime's errors share no base class of their own.
    try:
        return open_session(onnxruntime, graph, options, ["CPUExecutionProvider"])
    except Exception as error:
        raise DetectorError(f"{file} cannot be loaded by onnxruntime: {reason_of(error)}. {_cure(error)}") from error


def _check_kind(file: Path) -> None:
    """DetectorError unless there is a file that may be ONNX."""
    kind = next((name for suffixes, name in OTHER_FORMATS.items() if file.suffix.lower() in suffixes), None)
    if is_dir(file):
        raise DetectorError(f"{file} is a folder, and a detector is one ONNX file. Give the file")
    if not is_file(file):
        raise DetectorError(f"{absence(file, 'detector')}. Give an ONNX file")
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise DetectorError(f"cannot open {file}: {error.strerror or error}. Give an ONNX file") from error
    if start == b"PK\x03\x04":
        kind = "PyTorch"
    if start[:2] == b"<?":
        kind = "OpenVINO"
    if kind is not None:
        weights = file.with_suffix(".pt").name
        more = f", or clsclip-export --from-bundle OLD --out NEW --detector {weights}" if kind == "PyTorch" else ""
        raise DetectorError(
            f"{file} is a file of {kind}, and a detector is an ONNX file here. Make it one: "
            f"yolo export model={weights} format=onnx{more}"
        )


def _cure(error: Exception) -> str:
    """What to do about a file that ONNX Runtime refuses."""
    text = str(error)
    if "IR version" in text or "opset" in text.lower():
        return (
            "It is newer than this onnxruntime: run pip install --upgrade onnxruntime, or export the detector with a "
            "lower opset (onnx.version_converter lowers one that is there)"
        )
    return "Export the detector again as ONNX"


def _read_metadata(session: Any, file: Path) -> dict[str, str]:
    """The file's metadata; DetectorError if they are too many to be a detector's."""
    try:
        metadata = {str(key): str(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    except Exception as error:  # texts that are not UTF-8
        raise DetectorError(f"{file} has metadata that cannot be read: {reason_of(error)}. Export it again") from error
    if sum(len(key) + len(value) for key, value in metadata.items()) > MAX_METADATA_CHARACTERS:
        raise DetectorError(
            f"{file} has metadata of more than {MAX_METADATA_CHARACTERS:,} characters, which no detector needs. Export "
            "it again"
        )
    return metadata


def _read_input(inputs: Sequence[Any], metadata: Mapping[str, str], file: Path) -> tuple[int | None, Size, str]:
    """Batch (None: any), (height, width) and number type of the one input."""
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise DetectorError(f"{file} takes {len(inputs)} inputs of shape {shape}; a detector takes one (B, 3, H, W)")
    input_type = {"tensor(float)": "float32", "tensor(float16)": "float16"}.get(inputs[0].type)
    if input_type is None:
        raise DetectorError(
            f"{file} takes a {inputs[0].type}, and {' or '.join(DETECTOR_INPUT_TYPES)} can be given. Export it again"
        )
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    usual = _exported_size(metadata)
    sides = [one if isinstance(one, int) and one >= 0 else of for one, of in zip(shape[2:], usual, strict=True)]
    fits = all(DETECTOR_SIDES[0] <= side <= DETECTOR_SIDES[1] for side in sides)
    if not fits or (batch or 1) > MAX_DETECTOR_BATCH or sides[0] * sides[1] * (batch or 1) > MAX_DETECTOR_PIXELS:
        raise DetectorError(
            f"{file} takes {batch or 1:,} pictures of {sides[1]:,}x{sides[0]:,} pixels a call. Sides from "
            f"{DETECTOR_SIDES[0]} to {DETECTOR_SIDES[1]:,} pixels, at most {MAX_DETECTOR_BATCH:,} pictures and "
            f"{MAX_DETECTOR_PIXELS:,} pixels a call can be given. Export it for another size or batch"
        )
    return batch, (sides[0], sides[1]), input_type


def _exported_size(metadata: Mapping[str, str]) -> Size:
    """(height, width) that the export names as ``imgsz``; else the usual one."""
    found = _SIDES.fullmatch(metadata.get("imgsz", "")[:64])
    if found is not None:
        height, width = int(found[1]), int(found[2] or found[1])
        if min(height, width) >= DETECTOR_SIDES[0] and max(height, width) <= DETECTOR_SIDES[1]:
            return height, width
    return DYNAMIC_SIDE, DYNAMIC_SIDE


def _output_shapes(session: Any, batch: int | None, size: Size, input_type: str, file: Path) -> Shapes:
    """Shapes of all outputs, the batch axis as 1 where it is open; a file with other open axes is run once to see."""
    for output in session.get_outputs():
        if output.type not in _NUMBERS:
            raise DetectorError(
                f"{file} gives {output.name!a} as {output.type}, and a detector gives numbers. Export it again"
            )
    shapes = [list(output.shape) for output in session.get_outputs()]
    if all(shape and all(isinstance(one, int) for one in shape[1:]) for shape in shapes):
        return [[one if isinstance(one, int) else 1 for one in shape] for shape in shapes]
    values = np.zeros((batch or 1, 3, *size), input_type)
    try:
        outputs = session.run(None, {session.get_inputs()[0].name: values})
    except Exception as error:
        raise DetectorError(
            f"{file} cannot be run on an input of {size[1]}x{size[0]}: {reason_of(error)}. Export it again"
        ) from error
    return [list(np.shape(output)) for output in outputs]


def _names_by_count(count: int | None, file: Path) -> tuple[str, ...]:
    if count == len(COCO_NAMES):
        return COCO_NAMES
    known = "its outputs do not say how many classes it has" if count is None else f"it has {count} classes"
    raise DetectorError(
        f"{file} holds no class names, and {known}. Give them: names=('cat', 'dog'), a file with one name a line, "
        "or names='coco' for COCO's 80"
    )
