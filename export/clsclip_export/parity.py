"""Parity: every exported graph in ONNX Runtime against the PyTorch module that it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from clsclip.model import ClsClip
from clsclip_export.errors import ParityError
from clsclip_export.graphs import Graph, example_inputs, graphs

TOLERANCE = 1e-4
"""Largest allowed |difference| of any output in FP32."""

BATCHES = ((1, 1, 1), (1, 2, 2), (4, 8, 32))
"""(crops, classes, pairs) that parity is checked at."""


@dataclass(frozen=True)
class Parity:
    """One comparison: which graph and output, at how many crops, classes and pairs, and the largest |difference|."""

    graph: str
    output: str
    crops: int
    classes: int
    pairs: int
    difference: float

    def line(self) -> str:
        """For people: ``[✓] segmenter.onnx mask_logits (C=1 K=2 P=2) 1.2e-06``."""
        mark = "✓" if self.difference <= TOLERANCE else "✗"
        sizes = f"C={self.crops} K={self.classes} P={self.pairs}"
        return f"[{mark}] {self.graph:18} {self.output:14} {sizes:14} max |difference| {self.difference:.1e}"


def hostile_pictures(pixel_values: Tensor) -> Tensor:
    """The same batch with its first picture black, white or constant: what a covered or blinded camera sees."""
    hostile = pixel_values.clone()
    for crop, level in zip(range(len(hostile)), (-2.0, 2.5, 0.0), strict=False):
        hostile[crop] = level
    return hostile


def check_parity(model: ClsClip, folder: Path) -> list[Parity]:
    """Compare every graph in ``folder`` with PyTorch, on noise and on hostile pictures.

    Raises:
        ParityError: any output differs by more than :data:`TOLERANCE` or is not finite; names the first.
    """
    results = []
    for graph in graphs(model):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(folder / graph.file), options, providers=["CPUExecutionProvider"])
        for crops, classes, pairs in BATCHES:
            inputs = example_inputs(model, crops, classes, pairs, seed=crops + classes)
            results += compare(graph, session, inputs, (crops, classes, pairs))
            if "pixel_values" in graph.inputs:
                inputs["pixel_values"] = hostile_pictures(inputs["pixel_values"])
                results += compare(graph, session, inputs, (crops, classes, pairs))
    return results


def compare(
    graph: Graph, session: onnxruntime.InferenceSession, inputs: dict[str, Tensor], sizes: tuple[int, int, int]
) -> list[Parity]:
    """One graph at one batch; see :func:`check_parity`."""
    with torch.no_grad():
        expected = graph.module(*(inputs[name] for name in graph.inputs))
    expected = expected if isinstance(expected, tuple) else (expected,)
    wanted = {entry.name for entry in session.get_inputs()}
    feed = {name: inputs[name].numpy() for name in graph.inputs if name in wanted}
    found = session.run(list(graph.outputs), feed)
    results = []
    for name, ours, theirs in zip(graph.outputs, found, expected, strict=True):
        difference = float(np.abs(ours - theirs.numpy()).max())
        parity = Parity(graph.file, name, *sizes, difference)
        if not difference <= TOLERANCE:  # NaN must fail too
            raise ParityError(
                f"{parity.line()}: above {TOLERANCE}. The exported graph does not compute what PyTorch computes; "
                "no bundle was written. Check the weights for NaN and for values beyond 1e4."
            )
        results.append(parity)
    return results
