"""Detectors whose outputs are made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from clsclip_runtime.detectors import LAYOUTS, Detector, DetectorSpec

SIDE = 64
IMAGE = np.zeros((32, 64, 3), np.uint8)
"""It lies in rows 16 to 48 of a centred input, and in rows 0 to 32 of one at the top left."""


class FixedGraph:
    """A graph that gives fixed outputs, or what a function makes of its input, and remembers its inputs."""

    inputs = ("images",)

    def __init__(self, *outputs: np.ndarray, make: Callable[[np.ndarray], list[np.ndarray]] | None = None) -> None:
        self.make = make or (lambda values: list(outputs))
        self.outputs = tuple(f"output{at}" for at in range(len(outputs) or 1))
        self.seen: list[np.ndarray] = []

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.seen.append(feeds["images"])
        return dict(zip(self.outputs, self.make(feeds["images"]), strict=True))


def spec(layout: str = "yolov8", names: tuple[str, ...] = ("cat", "dog"), **changes: object) -> DetectorSpec:
    found = LAYOUTS[layout]
    values = {
        "output_format": layout,
        "names": names,
        "height": SIDE,
        "width": SIDE,
        "channel_order": found.channel_order,
        "input_scale": found.input_scale,
        "letterbox": found.letterbox,
        "batch": 1,
        "input_type": "float32",
        "class_agnostic": False,
        "license": "none",
    }
    return DetectorSpec(**{**values, **changes})  # type: ignore[arg-type]


def detector(layout: str, *outputs: np.ndarray, names: tuple[str, ...] = ("cat", "dog"), **options: float) -> Detector:
    """A detector of this layout that gives these outputs."""
    return Detector(FixedGraph(*outputs), spec(layout, names), **options)  # type: ignore[arg-type]


def save_onnx(
    path: Path,
    *outputs: np.ndarray,
    shape: tuple[int | str, ...] = (1, 3, SIDE, SIDE),
    metadata: dict[str, str] | None = None,
    open_axes: bool = False,
    input_type: int = TensorProto.FLOAT,
) -> Path:
    """An ONNX file that gives fixed outputs; with ``open_axes`` their shapes are not told.

    With a first axis of the input that is a name, the first output (1, ...) is repeated for every picture.
    """
    nodes, constants, values = [], [], []
    for at, output in enumerate(outputs):
        constants.append(numpy_helper.from_array(output.astype(np.float32), f"constant{at}"))
        told = ["?" if open_axes else size for size in output.shape]
        if isinstance(shape[0], str):
            told[0] = shape[0]
        values.append(helper.make_tensor_value_info(f"output{at}", TensorProto.FLOAT, told))
        if isinstance(shape[0], str):
            constants.append(numpy_helper.from_array(np.array(output.shape[1:], np.int64), f"rest{at}"))
            nodes += [
                helper.make_node("Shape", ["images"], [f"shape{at}"]),
                helper.make_node("Gather", [f"shape{at}", "first"], [f"batch{at}"], axis=0),
                helper.make_node("Concat", [f"batch{at}", f"rest{at}"], [f"whole{at}"], axis=0),
                helper.make_node("Expand", [f"constant{at}", f"whole{at}"], [f"output{at}"]),
            ]
        else:
            # The input is read, because some engines forget one that is not; no image is so bright that it counts.
            cast = [helper.make_node("Cast", ["images"], [f"floats{at}"], to=TensorProto.FLOAT)]
            nodes += [
                *(cast if input_type != TensorProto.FLOAT else []),
                helper.make_node(
                    "ReduceMax",
                    ["images" if input_type == TensorProto.FLOAT else f"floats{at}"],
                    [f"most{at}"],
                    keepdims=0,
                ),
                helper.make_node("Sub", [f"most{at}", "much"], [f"little{at}"]),
                helper.make_node("Relu", [f"little{at}"], [f"nothing{at}"]),
                helper.make_node("Add", [f"constant{at}", f"nothing{at}"], [f"output{at}"]),
            ]
    if isinstance(shape[0], str):
        constants.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
    else:
        constants.append(numpy_helper.from_array(np.float32(1e6), "much"))
    pixels = helper.make_tensor_value_info("images", input_type, list(shape))
    graph = helper.make_graph(nodes, "fixed", [pixels], values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path
