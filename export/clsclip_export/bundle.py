"""Writing a bundle: graphs, tokenizer and manifest into a temporary folder, checked, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip_export.errors import TargetError
from clsclip_export.graphs import OPSET, export_graph, graphs
from clsclip_export.parity import TOLERANCE, Parity, check_parity
from clsclip_export.weights import save_shared
from clsclip_runtime.bundle import DETECTOR, file_sha256

if TYPE_CHECKING:
    from clsclip_export.detector import PreparedDetector

SCHEMA_VERSION = 1
WEIGHTS_FILE = "vision.weights"
OWN_WEIGHTS = ("text_encoder.onnx",)
"""Graphs that share no weights with the others and so carry their own."""

TEMPLATES = ["a picture of a {}"]


def write_bundle(
    model: ClsClip,
    header: dict[str, Any],
    out: Path,
    *,
    name: str,
    force: bool = False,
    detector: PreparedDetector | None = None,
) -> list[Parity]:
    """Export ``model`` to the folder ``out``: nothing is there until everything is right.

    Args:
        model: in evaluation mode.
        header: its checkpoint's header (towers, provenance).
        out: the bundle, by custom ending in ``.clsclip``.
        name: of the model, for people.
        force: replace what stands at ``out``.
        detector: goes into the bundle too; None leaves it without.

    Returns:
        The parity figures, which the manifest holds too.

    Raises:
        TargetError: ``out`` exists and ``force`` is not set, or its folder cannot be written.
        ParityError: a graph does not compute what PyTorch computes.
    """
    if out.exists() and not force:
        raise TargetError(f"{out} exists. Give --force to replace it, or another --out.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise TargetError(f"{out.parent} cannot be written: {error.strerror}.") from error
    try:
        scratch.chmod(0o755)
        write_graphs(model, scratch)
        model.towers.tokenizer.no_padding()
        model.towers.tokenizer.no_truncation()
        model.towers.tokenizer.save(str(scratch / "tokenizer.json"))
        parity = check_parity(model, scratch)
        if detector is not None:
            shutil.copyfile(detector.path, scratch / DETECTOR)
        manifest = build_manifest(model, header, name, scratch, parity)
        if detector is not None:
            manifest["detector"] = detector.section()
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


def write_graphs(model: ClsClip, folder: Path) -> None:
    """Export every graph; those of the image share one weights file."""
    exported = {graph.file: export_graph(graph) for graph in graphs(model)}
    for file in OWN_WEIGHTS:
        (folder / file).write_bytes(exported.pop(file).SerializeToString())
    save_shared(exported, folder, WEIGHTS_FILE)


def build_manifest(
    model: ClsClip, header: dict[str, Any], name: str, folder: Path, parity: list[Parity]
) -> dict[str, Any]:
    """Everything a runtime must know, and where the bundle comes from."""
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
        "mask": {"threshold": 0.5, "height": side, "width": side},
        "presence": {"threshold": 0.0 if threshold is None else threshold},
        "precision": "fp32",
        "opset": OPSET,
        "files": {path.name: file_entry(path) for path in sorted(folder.iterdir())},
        "provenance": provenance,
        "parity": {
            "reference": "PyTorch FP32",
            "tolerance": TOLERANCE,
            "max_difference": {
                output: max(row.difference for row in parity if f"{row.graph}:{row.output}" == output)
                for output in sorted({f"{row.graph}:{row.output}" for row in parity})
            },
        },
        "tools": {tool: version(tool) for tool in ("torch", "onnx", "onnxruntime", "open_clip_torch", "tokenizers")},
    }


def file_entry(path: Path) -> dict[str, Any]:
    """sha256 and size of one file of the bundle."""
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}
