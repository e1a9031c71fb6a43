"""Parity: every exported graph in ONNX Runtime against the PyTorch module that it came from.

FP32 graphs must agree to :data:`TOLERANCE`, on stress images to :data:`STRESS_TOLERANCE`. PyTorch's own FP32 rounding
can take most of that (measured: 8.3e-5 on logits of 13, where ONNX Runtime was within 4.1e-5 of the exact value), so a
graph that seems to differ is compared once more, with the same module in FP64. Half graphs must agree in direction
(cosine) and in the masks that are drawn of them, and are checked twice: as they ship, where ONNX Runtime runs them, and
as their double that rounds where a GPU would (:func:`clsclip_export.precision.rounded`), because ONNX Runtime's kernels
for CPUs do not.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from clsclip.base import WordSegmenter
from clsclip_export.architectures import Graph
from clsclip_export.check_data import KINDS, CheckData, graph_inputs
from clsclip_export.errors import ParityError
from clsclip_runtime.masks.upsampling import upsample

_log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest allowed |difference| of any output in FP32."""

STRESS_TOLERANCE = 1e-3
"""The same for stress images: nothing is to be seen in them, and a flat one can be a point where attention turns, which
makes 3e-4 of the 6e-6 that two engines differ in its tokens (measured on one word of a white image)."""

MIN_COSINE = 0.999
"""Smallest allowed cosine of any row (a pair, a crop, a word) of any output in half."""

MIN_IOU = 0.99
"""Smallest allowed IoU of the masks of one batch in half, against FP32's."""

MIN_COVER = 0.005
"""Share of a batch's pixels that its masks must cover together for their IoU to be judged: of a handful of pixels it
says nothing."""

ON_THE_FENCE = 0.2
"""Difference of a mask logit that stress images are allowed in half: at most a twentieth of a probability. Nothing is
to be seen in them, so a word's logits can lie within a hair of the threshold all over, where every rounding flips
pixels and turns the row around. Real images are judged without it."""

AS_SHIPPED, ROUNDED = "as shipped", "rounded double"
"""Which graph was run: the bundle's own, or its double that rounds where a GPU would."""


@dataclass(frozen=True)
class Parity:
    """One comparison.

    Attributes:
        graph: file of the bundle.
        output: its output.
        crops, classes, pairs: sizes of the batch.
        kind: of its images, ``real`` or ``stress``.
        run: :data:`AS_SHIPPED` or :data:`ROUNDED`.
        precision: of the graph.
        difference: largest |difference|.
        cosine: smallest of any row; of mask logits of stress images, without differences of :data:`ON_THE_FENCE`.
        iou: of all masks of the batch together, as drawn on images of the model's size, of stress images without the
            same; None where there are none worth it (:data:`MIN_COVER`).
        reference: precision of the PyTorch module that it was compared with.
    """

    graph: str
    output: str
    crops: int
    classes: int
    pairs: int
    kind: str
    run: str
    precision: str
    difference: float
    cosine: float
    iou: float | None
    reference: str = "FP32"

    @property
    def fault(self) -> str | None:
        """Why it fails; None when it does not. NaN fails."""
        if self.precision == "fp32":
            most = STRESS_TOLERANCE if self.kind == "stress" else TOLERANCE
            return None if self.difference <= most else f"max |difference| {self.difference:.1e} > {most}"
        if not self.cosine >= MIN_COSINE:
            return f"cosine {self.cosine:.5f} < {MIN_COSINE}"
        if self.iou is not None and not self.iou >= MIN_IOU:
            return f"mask IoU {self.iou:.4f} < {MIN_IOU}"
        return None

    def line(self) -> str:
        """For people: ``[ok] segmenter.onnx mask_logits C=1 K=2 P=2 real max |difference| 1.2e-06``."""
        sizes = f"C={self.crops} K={self.classes} P={self.pairs}"
        figures = f"max |difference| {self.difference:.1e}" + (" to FP64" if self.reference == "FP64" else "")
        if self.precision != "fp32":
            figures += f", cosine {self.cosine:.6f}" + ("" if self.iou is None else f", mask IoU {self.iou:.4f}")
            figures += f" ({self.precision}, {self.run})"
        mark = "ok" if self.fault is None else "fail"
        return f"[{mark}] {self.graph:18} {self.output:14} {sizes:15} {self.kind:7} {figures}"


Explain = Callable[[Graph, dict[str, npt.NDArray[Any]], str, int], str]
"""(graph, feeds, output, worst row) -> a sentence that names the first tensor that diverges."""


@dataclass(frozen=True)
class Case:
    """One graph file to run.

    Attributes:
        graph: what it was exported from.
        path: the ONNX file.
        precision: that it must have by the gates: ``fp32`` or a half.
        run: :data:`AS_SHIPPED` or :data:`ROUNDED`.
        kinds: of images.
    """

    graph: Graph
    path: Path
    precision: str
    run: str = AS_SHIPPED
    kinds: tuple[str, ...] = KINDS


def check_parity(
    model: WordSegmenter,
    cases: Sequence[Case],
    data: CheckData,
    batches: Sequence[tuple[int, int, int]],
    mask_logit: float,
    explain: Explain,
) -> list[Parity]:
    """Compare every case with PyTorch on every batch.

    Args:
        model: in evaluation mode.
        cases: what to run.
        data: images and words.
        batches: (crops, classes, pairs) to check at.
        mask_logit: the logit above which a pixel belongs to a mask.
        explain: called for the first comparison that fails.

    Raises:
        ParityError: a comparison fails; it names the first tensor that diverges.
    """
    inputs = {(sizes, kind): graph_inputs(model, data, kind, sizes) for sizes in batches for kind in KINDS}
    results = []
    for case in cases:
        _log.info("checking %s (%s) at %d sizes of calls", case.graph.file, case.precision, len(batches))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(case.path), options, providers=["CPUExecutionProvider"])
        for (sizes, kind), tensors in inputs.items():
            if kind in case.kinds:
                results += compare(case, session, tensors, sizes, kind, mask_logit, explain)
    return results


def compare(
    case: Case,
    session: onnxruntime.InferenceSession,
    inputs: dict[str, Tensor],
    sizes: tuple[int, int, int],
    kind: str,
    mask_logit: float,
    explain: Explain,
) -> list[Parity]:
    """One graph at one batch; see :func:`check_parity`."""
    graph, side = case.graph, inputs["pixel_values"].shape[-1]
    expected = reference_outputs(graph, inputs)
    exact: tuple[Tensor, ...] | None = None
    wanted = {entry.name for entry in session.get_inputs()}
    feeds = {name: inputs[name].numpy() for name in graph.inputs if name in wanted}
    found = session.run(list(graph.outputs), feeds)
    results = []
    for at, (name, ours) in enumerate(zip(graph.outputs, found, strict=True)):
        theirs = expected[at].numpy()
        parity = parity_of(case, name, sizes, kind, ours, theirs, mask_logit, side)
        if parity.fault is not None and case.precision == "fp32":
            exact = exact or reference_outputs(graph, inputs, torch.float64)
            theirs = exact[at].numpy()
            parity = replace(parity_of(case, name, sizes, kind, ours, theirs, mask_logit, side), reference="FP64")
        if parity.fault is not None:
            worst = int(np.abs(ours - theirs).reshape(len(ours), -1).max(axis=1).argmax())  # argmax takes the first NaN
            raise ParityError(
                f"{parity.line()}: {parity.fault}. {explain(graph, feeds, name, worst)} "
                f"{graph.file} does not compute what PyTorch computes, so no bundle was written."
            )
        results.append(parity)
    return results


def reference_outputs(
    graph: Graph, inputs: dict[str, Tensor], precision: torch.dtype = torch.float32
) -> tuple[Tensor, ...]:
    """What PyTorch computes in this precision."""
    module = graph.reference if precision == torch.float32 else copy.deepcopy(graph.reference).to(precision)
    given = [inputs[name].to(precision) if inputs[name].is_floating_point() else inputs[name] for name in graph.inputs]
    with torch.no_grad():
        outputs = module(*given)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def parity_of(
    case: Case,
    output: str,
    sizes: tuple[int, int, int],
    kind: str,
    ours: npt.NDArray[Any],
    theirs: npt.NDArray[Any],
    mask_logit: float,
    side: int,
) -> Parity:
    """The figures of one output; masks are drawn ``side`` pixels a side."""
    is_mask = output == "mask_logits"
    judged = ours
    if is_mask and kind == "stress" and case.precision != "fp32":
        judged = np.where(np.abs(ours - theirs) <= ON_THE_FENCE, theirs, ours)
    return Parity(
        case.graph.file,
        output,
        *sizes,
        kind,
        case.run,
        case.precision,
        float(np.abs(ours - theirs).max()),
        float(row_cosines(judged, theirs).min()),
        pooled_iou(drawn(judged, side, mask_logit), drawn(theirs, side, mask_logit)) if is_mask else None,
    )


def row_cosines(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Cosine of every row of two arrays (n, ...): (n,) float64. Rows that are equal have 1, also where they are 0."""
    first, second = (one.reshape(len(one), -1).astype(np.float64) for one in (ours, theirs))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (first * second).sum(axis=1) / lengths
    same: npt.NDArray[np.float64] = np.where((first == second).all(axis=1), 1.0, cosines)
    return same


def drawn(logits: npt.NDArray[Any], side: int, mask_logit: float) -> npt.NDArray[np.bool_]:
    """Masks (..., side, side) of logits (..., h, w), as the runtime draws them on an image of that size.

    Of coarse logits, such as CLIP's 14 x 14 patches, a mask has some sixty: one whose logit is within a rounding error
    of the threshold would count as 2 %, where the drawn edge moves by a hair. Where logits are not finite, nothing is
    drawn: the word was not segmented.
    """
    segmented = np.isfinite(logits).all(axis=(-2, -1), keepdims=True)
    values = np.where(segmented, logits, mask_logit).astype(np.float32)
    masks = (values if values.shape[-1] >= side else upsample(values, (side, side))) > mask_logit
    result: npt.NDArray[np.bool_] = masks & segmented
    return result


def pooled_iou(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> float | None:
    """IoU of two stacks of masks (P, h, w), intersections and unions summed over the stack."""
    union = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / union if union >= MIN_COVER * ours.size else None
