"""Whether a folder computes what the model computes: preprocessing, every graph, and the figures that say so."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clsclip.base import WordSegmenter
from clsclip_export.architectures import Graph, architecture_of
from clsclip_export.check_data import KINDS, CheckData, images_of, reference_pixels
from clsclip_export.divergence import explain_failure
from clsclip_export.errors import ParityError
from clsclip_export.graphs import Exported
from clsclip_export.parity import (
    MIN_COSINE,
    MIN_IOU,
    ON_THE_FENCE,
    ROUNDED,
    STRESS_TOLERANCE,
    TOLERANCE,
    Case,
    Parity,
    check_parity,
)
from clsclip_export.precision import rounded
from clsclip_export.profiles import Profile
from clsclip_export.weights import WEIGHTS_FILE, save_shared
from clsclip_export.words import check_words
from clsclip_runtime.bundle.opening import MANIFEST, PRESENCE
from clsclip_runtime.bundle.specs import ImageSpec
from clsclip_runtime.documents import read_json
from clsclip_runtime.images import preprocess
from clsclip_runtime.masks.upsampling import logit
from clsclip_runtime.paths import is_file

ALWAYS_FP32 = (PRESENCE,)
"""Graphs that stay FP32 in every bundle: presence holds three numbers and sharpens small differences of cosines."""

IMAGES_COMPARED = 4
"""Images of each kind whose preprocessing is checked."""

HALF_NOTE = (
    "The rounded double is the same graph in FP32 that rounds every tensor which is half, as a GPU does; "
    "ONNX Runtime's CPU provider computes FP16 graphs in FP32 without these roundings, and BF16 graphs not at all."
)


def verify(exported: Exported, folder: Path, data: CheckData, profile: Profile) -> list[Parity]:
    """Compare all that ``folder`` holds with PyTorch.

    Half graphs are checked as their rounded doubles on everything, and as they ship on small batches of real images,
    which shows that they load and are wired as meant. ONNX Runtime's CPU provider runs no BF16.

    Args:
        exported: what the folder was written from.
        folder: graphs and manifest.
        data: images and words to check on.
        profile: sizes of calls to check at.

    Raises:
        ParityError: something differs; it names the first tensor that diverges.
    """
    manifest = read_json(folder / MANIFEST)
    precision, mask_logit = manifest["precision"], logit(manifest["mask"]["threshold"])
    check_preprocessing(exported.model, image_of(manifest), data)

    def explain(graph: Graph, feeds: dict[str, Any], output: str, row: int) -> str:
        return explain_failure(exported.graphs[graph.file], precision_of_graph(graph.file, precision), feeds, row)

    def check(cases: Sequence[Case], batches: Sequence[tuple[int, int, int]]) -> list[Parity]:
        return check_parity(exported.model, cases, data, batches, mask_logit, explain)

    batches = profile.batches()
    graphs = [one for one in exported.graphs.values() if is_file(folder / one.graph.file)]
    wide = [one for one in graphs if precision_of_graph(one.graph.file, precision) == "fp32"]
    half = [one for one in graphs if precision_of_graph(one.graph.file, precision) != "fp32"]
    parity = check([Case(one.graph, folder / one.graph.file, "fp32") for one in wide], batches)
    if half:
        with tempfile.TemporaryDirectory(prefix=".rounded.", dir=folder.parent) as temporary:
            doubles = Path(temporary)
            save_shared({one.graph.file: rounded(one.proto, precision) for one in half}, doubles, WEIGHTS_FILE)
            parity += check([Case(one.graph, doubles / one.graph.file, precision, ROUNDED) for one in half], batches)
    if precision == "fp16":
        shipped = [Case(one.graph, folder / one.graph.file, precision, kinds=("real",)) for one in half]
        parity += check(shipped, batches[:2])
    return parity + check_words(exported.model, folder)


def image_of(manifest: dict[str, Any]) -> ImageSpec:
    """How a manifest says that images are prepared."""
    image = manifest["image"]
    return ImageSpec(**{**image, "mean": tuple(image["mean"]), "std": tuple(image["std"])})


def precision_of_graph(file: str, precision: str) -> str:
    """Tell the precision of one graph of a bundle of this precision."""
    return "fp32" if file in ALWAYS_FP32 else precision


def check_preprocessing(model: WordSegmenter, spec: ImageSpec, data: CheckData) -> None:
    """Compare the runtime's pixels, by the manifest's ``spec``, with the towers' own.

    Raises:
        ParityError: they differ.
    """
    for kind in KINDS:
        images = images_of(data, kind, IMAGES_COMPARED, spec.size)
        expected = reference_pixels(model, images).numpy()
        found = np.stack([preprocess(image, spec) for image in images])
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else math.inf
        if not difference <= TOLERANCE:
            towers = architecture_of(model).image
            raise ParityError(
                f"First tensor that diverges from PyTorch: pixel_values: it differs by {difference:.3g}. The manifest "
                f"says size {spec.size}, mean {spec.mean}, std {spec.std}, {spec.interpolation}; the towers were "
                f"trained with size {towers.size}, mean {towers.mean}, std {towers.std}, {towers.interpolation}. "
                "No bundle was written."
            )


def parity_figures(parity: list[Parity], data: CheckData) -> dict[str, Any]:
    """Sum the checks up for the manifest: the worst of every output."""
    outputs = sorted({f"{row.graph}:{row.output}" for row in parity})
    rows = {output: [row for row in parity if f"{row.graph}:{row.output}" == output] for output in outputs}
    half = {output: found for output, found in rows.items() if found[0].precision != "fp32"}
    figures: dict[str, Any] = {
        "reference": "PyTorch FP32",
        "tolerance": TOLERANCE,
        "stress_tolerance": STRESS_TOLERANCE,
        "batches": sorted({(row.crops, row.classes, row.pairs) for row in parity if row.pairs}),
        "images": f"{len(data.images)} real ones, and stress images: black, white, noise, one color",
        "max_difference": {output: max(row.difference for row in found) for output, found in rows.items()},
    }
    if half:
        runs = sorted({row.run for found in half.values() for row in found})
        judged = {output: [row.iou for row in found if row.iou is not None] for output, found in half.items()}
        figures["half"] = {
            "min_cosine_allowed": MIN_COSINE,
            "min_mask_iou_allowed": MIN_IOU,
            "logit_difference_not_judged_of_stress_images": ON_THE_FENCE,
            "min_cosine": {output: min(row.cosine for row in found) for output, found in half.items()},
            "min_mask_iou": {output: min(values) for output, values in judged.items() if values},
            "graphs_run": runs,
            "note": HALF_NOTE,
        }
    return figures
