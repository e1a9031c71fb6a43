"""What must be known to run a detector, found in its ONNX file."""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clsclip_runtime.bundle.manifest import DETECTOR_INPUT_TYPES
from clsclip_runtime.bundle.specs import DetectorSpec
from clsclip_runtime.detectors.layouts import LAYOUTS, Shapes, Size, class_count, find_layout, layout_name
from clsclip_runtime.detectors.names import COCO_NAMES, parse_names, read_names
from clsclip_runtime.errors import DetectorError, one_line
from clsclip_runtime.paths import absence, is_file
from clsclip_runtime.text.matching import is_class_agnostic

DYNAMIC_SIDE = 640
"""Input side in pixels of detectors that take any and do not say which they were exported for."""

_FATAL_ONLY = 4
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
    session = _open(file)
    metadata = dict(session.get_modelmeta().custom_metadata_map)
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


def _open(file: Path) -> Any:
    """An ONNX Runtime session that starts quickly and is only asked what it is."""
    if not is_file(file):
        raise DetectorError(f"{absence(file, 'detector')}. Give an ONNX file")
    try:
        import onnxruntime
    except ImportError as error:
        raise DetectorError(f"onnxruntime cannot be imported ({error}). Run: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # ONNX Runtime's errors share no base class of their own.
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DetectorError(
            f"{file} cannot be loaded by onnxruntime: {one_line(error, 300)}. Export the detector again as ONNX"
        ) from error


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
    sides = [one if isinstance(one, int) and one > 0 else of for one, of in zip(shape[2:], usual, strict=True)]
    return batch, (sides[0], sides[1]), input_type


def _exported_size(metadata: Mapping[str, str]) -> Size:
    """(height, width) that the export names as ``imgsz``; else the usual one."""
    try:
        found = ast.literal_eval(metadata.get("imgsz", ""))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        found = None
    sides = [found, found] if isinstance(found, int) else found
    if (
        isinstance(sides, (list, tuple))
        and len(sides) == 2
        and all(type(one) is int and 32 <= one <= 8192 for one in sides)
    ):
        return sides[0], sides[1]
    return DYNAMIC_SIDE, DYNAMIC_SIDE


def _output_shapes(session: Any, batch: int | None, size: Size, input_type: str, file: Path) -> Shapes:
    """Shapes of all outputs, the batch axis as 1 where it is open; a file with other open axes is run once to see."""
    shapes = [list(output.shape) for output in session.get_outputs()]
    if all(shape and all(isinstance(one, int) for one in shape[1:]) for shape in shapes):
        return [[one if isinstance(one, int) else 1 for one in shape] for shape in shapes]
    values = np.zeros((batch or 1, 3, *size), input_type)
    try:
        outputs = session.run(None, {session.get_inputs()[0].name: values})
    except Exception as error:
        raise DetectorError(
            f"{file} cannot be run on an input of {size[1]}x{size[0]}: {one_line(error, 300)}. Export it again"
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
