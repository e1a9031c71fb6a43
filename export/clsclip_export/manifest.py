"""The manifest of an exported model: everything a runtime must know, and where the bundle comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip_export.graphs import OPSET
from clsclip_runtime.bundle.folder import file_entries

if TYPE_CHECKING:
    from clsclip_export.bundle import BundleOptions

SCHEMA_VERSION = 1
TEMPLATES = ["a picture of a {}"]
MASK_THRESHOLD = 0.5


def build_manifest(model: ClsClip, folder: Path, header: Mapping[str, Any], options: BundleOptions) -> dict[str, Any]:
    """Describe what ``folder`` holds; parity comes when it is known.

    Args:
        model: that was exported.
        folder: all files of the bundle but the manifest.
        header: of the model's checkpoint.
        options: what the bundle is to be.
    """
    towers, provenance = model.towers, header.get("provenance", {})
    side = towers.grid * model.config.upscale
    threshold = provenance.get("presence_threshold")
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": options.name,
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
        "precision": options.precision,
        "opset": OPSET,
        "files": file_entries(folder),
        "provenance": provenance,
        "tools": {tool: version(tool) for tool in ("torch", "onnx", "onnxruntime", "open_clip_torch", "tokenizers")},
    }
    if options.detector is not None:
        document["detector"] = options.detector.section()
    return document
