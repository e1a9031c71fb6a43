"""Writing a bundle: graphs, tokenizer and manifest into a temporary folder, checked, then renamed."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip_export.check_data import KINDS, Evidence, pictures_of, reference_pixels
from clsclip_export.divergence import explain_failure, weight_name
from clsclip_export.errors import ParityError, TargetError
from clsclip_export.graphs import OPSET, Exported, Graph, export_graph, graphs
from clsclip_export.parity import MIN_COSINE, MIN_IOU, ROUNDED, TOLERANCE, Case, Parity, check_parity
from clsclip_export.precision import rounded, to_half
from clsclip_export.profiles import Profile
from clsclip_export.weights import save_shared
from clsclip_runtime.bundle.opening import DETECTOR
from clsclip_runtime.bundle.specs import ImageSpec
from clsclip_runtime.images import preprocess
from clsclip_runtime.masks.upsampling import logit
from clsclip_runtime.paths import file_sha256

if TYPE_CHECKING:
    from clsclip_export.detector import PreparedDetector

SCHEMA_VERSION = 1
WEIGHTS_FILE = "vision.weights"
OWN_WEIGHTS = ("text_encoder.onnx",)
"""Graphs that share no weights with the others and so carry their own."""

ALWAYS_FP32 = ("gate.onnx",)
"""Graphs that stay FP32 in every bundle: the gate holds three numbers and sharpens small differences of cosines."""

TEMPLATES = ["a picture of a {}"]

MASK_THRESHOLD = 0.5

PICTURES_COMPARED = 4
"""Pictures of each kind whose preprocessing is checked."""

HALF_NOTE = (
    "The rounded double is the same graph in FP32 that rounds every tensor which is half, as a GPU does; "
    "ONNX Runtime's CPU provider computes FP16 graphs in FP32 without these roundings, and BF16 graphs not at all."
)


def write_bundle(
    model: ClsClip,
    header: dict[str, Any],
    out: Path,
    *,
    name: str,
    force: bool = False,
    detector: PreparedDetector | None = None,
    precision: str = "fp32",
    evidence: Evidence | None = None,
    profile: Profile | None = None,
) -> list[Parity]:
    """Export ``model`` to the folder ``out``: nothing is there until everything is right.

    Args:
        model: in evaluation mode.
        header: its checkpoint's header (towers, provenance).
        out: the bundle, by custom ending in ``.clsclip``.
        name: of the model, for people.
        force: replace what stands at ``out``.
        detector: goes into the bundle too; None leaves it without.
        precision: of the graphs, one of :data:`clsclip_export.precision.PRECISIONS`.
        evidence: pictures and words to check on; None is scikit-image's photographs and common nouns.
        profile: sizes to check at; None is the default one.

    Returns:
        The parity figures, which the manifest holds too.

    Raises:
        TargetError: ``out`` exists and ``force`` is not set, or its folder cannot be written.
        ParityError: a graph does not compute what PyTorch computes.
        PrecisionError: the model cannot be expressed in this precision.
        EvidenceError: there are no pictures to check on.
    """
    if out.exists() and not force:
        raise TargetError(f"{out} exists. Give --force to replace it, or another --out.")
    evidence, profile = evidence or Evidence.read(None), profile or Profile()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise TargetError(f"{out.parent} cannot be written: {error.strerror}.") from error
    try:
        scratch.chmod(0o755)
        exported = {graph.file: export_graph(graph) for graph in graphs(model)}
        write_graphs({file: shipped(one, precision) for file, one in exported.items()}, scratch)
        model.towers.tokenizer.no_padding()
        model.towers.tokenizer.no_truncation()
        model.towers.tokenizer.save(str(scratch / "tokenizer.json"))
        if detector is not None:
            shutil.copyfile(detector.path, scratch / DETECTOR)
        manifest = build_manifest(model, header, name, scratch, precision)
        if detector is not None:
            manifest["detector"] = detector.section()
        check_preprocessing(model, image_spec(model), evidence)
        parity = check_graphs(model, exported, scratch, precision, evidence, profile)
        manifest["parity"] = parity_figures(parity, evidence)
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
        replace_folder(scratch, out)
    except OSError as error:
        raise TargetError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return parity


def replace_folder(scratch: Path, out: Path) -> None:
    """Put ``scratch`` in the place of ``out``; the old bundle goes only when the new one stands."""
    if not out.exists():
        os.replace(scratch, out)
        return
    old = scratch.with_name(scratch.name + ".old")
    os.replace(out, old)
    try:
        os.replace(scratch, out)
    except OSError:
        os.replace(old, out)
        raise
    shutil.rmtree(old) if old.is_dir() else old.unlink()


def shipped(exported: Exported, precision: str) -> onnx.ModelProto:
    """The graph that goes into a bundle of this precision."""
    if precision == "fp32" or exported.graph.file in ALWAYS_FP32:
        return exported.proto
    return to_half(exported.proto, precision, lambda weight: weight_name(exported.graph.module, weight))


def write_graphs(protos: dict[str, onnx.ModelProto], folder: Path) -> None:
    """Write every graph; those of the image share one weights file."""
    for file in OWN_WEIGHTS:
        (folder / file).write_bytes(protos[file].SerializeToString())
    shared = {file: proto for file, proto in protos.items() if file not in OWN_WEIGHTS}
    save_shared(shared, folder, WEIGHTS_FILE)


def check_graphs(
    model: ClsClip,
    exported: dict[str, Exported],
    folder: Path,
    precision: str,
    evidence: Evidence,
    profile: Profile,
) -> list[Parity]:
    """Parity of all that ``folder`` holds with PyTorch; see :func:`clsclip_export.parity.check_parity`.

    Half graphs are checked as their rounded doubles on everything, and as they ship on small batches of photographs,
    which shows that they load and are wired as meant. ONNX Runtime's CPU provider runs no BF16.
    """

    def explain(graph: Graph, feeds: dict[str, Any], output: str, row: int) -> str:
        return explain_failure(exported[graph.file], precision_of_graph(graph.file, precision), feeds, row)

    batches, cut = profile.batches(), logit(MASK_THRESHOLD)
    wide = [one for one in exported.values() if precision_of_graph(one.graph.file, precision) == "fp32"]
    half = [one for one in exported.values() if precision_of_graph(one.graph.file, precision) != "fp32"]
    cases = [Case(one.graph, folder / one.graph.file, "fp32") for one in wide]
    parity = check_parity(model, cases, evidence, batches, cut, explain)
    if half:
        with tempfile.TemporaryDirectory(prefix=".rounded.", dir=folder.parent) as temporary:
            doubles = Path(temporary)
            save_shared({one.graph.file: rounded(one.proto, precision) for one in half}, doubles, WEIGHTS_FILE)
            cases = [Case(one.graph, doubles / one.graph.file, precision, ROUNDED) for one in half]
            parity += check_parity(model, cases, evidence, batches, cut, explain)
    if precision == "fp16":
        cases = [Case(one.graph, folder / one.graph.file, precision, kinds=("real",)) for one in half]
        parity += check_parity(model, cases, evidence, batches[:2], cut, explain)
    return parity


def precision_of_graph(file: str, precision: str) -> str:
    """The precision of one graph of a bundle of this precision."""
    return "fp32" if file in ALWAYS_FP32 else precision


def check_preprocessing(model: ClsClip, spec: ImageSpec, evidence: Evidence) -> None:
    """The runtime's pixels, by the manifest's ``spec``, against the towers' own.

    Raises:
        ParityError: they differ.
    """
    for kind in KINDS:
        pictures = pictures_of(evidence, kind, PICTURES_COMPARED, spec.size)
        expected = reference_pixels(model, pictures).numpy()
        found = np.stack([preprocess(picture, spec) for picture in pictures])
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else math.inf
        if not difference <= TOLERANCE:
            towers = model.towers.image
            raise ParityError(
                f"First tensor that diverges from PyTorch: pixel_values: it differs by {difference:.3g}. The manifest "
                f"says size {spec.size}, mean {spec.mean}, std {spec.std}, {spec.interpolation}; the towers were trained "
                f"with size {towers.size}, mean {towers.mean}, std {towers.std}, bicubic. No bundle was written."
            )


def build_manifest(model: ClsClip, header: dict[str, Any], name: str, folder: Path, precision: str) -> dict[str, Any]:
    """Everything a runtime must know, and where the bundle comes from; parity comes when it is known."""
    towers, provenance = model.towers, header.get("provenance", {})
    side = towers.grid * model.config.upscale
    threshold = provenance.get("presence_threshold")
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "clsclip_version": version("clsclip"),
        "description": provenance.get("description", f"ClsCLIP on {towers.name}."),
        "model": {
            "towers": towers.name,
            "variant": model.config.variant,
            "layers": towers.layers,
            "navigation_layers": sorted(model.config.navigation_layers),
            "patch_size": towers.patch,
            "width": towers.width,
            "heads": int(towers.visual.transformer.resblocks[0].attn.num_heads),
            "d_text": towers.text_width,
            "d_feature": towers.feature_width,
            "fingerprint": towers.fingerprint(),
        },
        "licence": provenance.get("licence", {"weights": "unknown", "notes": []}),
        "image": asdict(image_spec(model)),
        "text": {
            "context_length": towers.context_length,
            "templates": provenance.get("templates", TEMPLATES),
            "pad_token_id": 0,
        },
        "mask": {"threshold": MASK_THRESHOLD, "height": side, "width": side},
        "presence": {"threshold": 0.0 if threshold is None else threshold},
        "precision": precision,
        "opset": OPSET,
        "files": {path.name: file_entry(path) for path in sorted(folder.iterdir())},
        "provenance": provenance,
        "tools": {tool: version(tool) for tool in ("torch", "onnx", "onnxruntime", "open_clip_torch", "tokenizers")},
    }


def parity_figures(parity: list[Parity], evidence: Evidence) -> dict[str, Any]:
    """What the manifest tells of the checks: the worst of every output."""
    outputs = sorted({f"{row.graph}:{row.output}" for row in parity})
    rows = {output: [row for row in parity if f"{row.graph}:{row.output}" == output] for output in outputs}
    half = {output: found for output, found in rows.items() if found[0].precision != "fp32"}
    figures: dict[str, Any] = {
        "reference": "PyTorch FP32",
        "tolerance": TOLERANCE,
        "batches": sorted({(row.crops, row.classes, row.pairs) for row in parity}),
        "pictures": f"{len(evidence.pictures)} real ones, and hostile ones: black, white, noise, one colour",
        "max_difference": {output: max(row.difference for row in found) for output, found in rows.items()},
    }
    if half:
        runs = sorted({row.run for found in half.values() for row in found})
        judged = {output: [row.iou for row in found if row.iou is not None] for output, found in half.items()}
        figures["half"] = {
            "min_cosine_allowed": MIN_COSINE,
            "min_mask_iou_allowed": MIN_IOU,
            "min_cosine": {output: min(row.cosine for row in found) for output, found in half.items()},
            "min_mask_iou": {output: min(values) for output, values in judged.items() if values},
            "graphs_run": runs,
            "note": HALF_NOTE,
        }
    return figures


def file_entry(path: Path) -> dict[str, Any]:
    """sha256 and size of one file of the bundle."""
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}
