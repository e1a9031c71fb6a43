"""The manifest of an exported model: everything a runtime must know, and where the bundle comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clsclip.base import WordSegmenter
from clsclip.checkpoint import least_confidence_of, mask_threshold_of
from clsclip_export.architectures import architecture_of
from clsclip_export.architectures.clsclip import ClsClipArchitecture
from clsclip_export.graphs import OPSET
from clsclip_export.options import BundleOptions
from clsclip_runtime.bundle.description import describe_features, read_signatures
from clsclip_runtime.bundle.folder import file_entries
from clsclip_runtime.bundle.manifest import SCHEMA_VERSION
from clsclip_runtime.bundle.opening import DETECTOR, IMAGE_ENCODER, TEXT_ENCODER
from clsclip_runtime.version import __version__

TEMPLATES = list(ClsClipArchitecture.templates)

MATCHING = "text_features"
"""The text feature of unit norm."""


def tiles(presence: float) -> dict[str, Any]:
    """The manifest's ``tiles`` for a least presence: 3 x 3, which share a quarter, as the runtime's own."""
    return {"scales": [3], "overlap": 0.25, "presence_threshold": presence}


def build_manifest(
    model: WordSegmenter, folder: Path, header: Mapping[str, Any], options: BundleOptions
) -> dict[str, Any]:
    """Describe what ``folder`` holds; parity comes when it is known.

    Args:
        model: that was exported.
        folder: all files of the bundle but the manifest.
        header: of the model's checkpoint.
        options: what the bundle is to be.
    """
    towers, provenance = model.towers, header.get("provenance", {})
    architecture = architecture_of(model)
    height, width = architecture.mask_size
    graphs = read_signatures(folder)
    features = describe_features(graphs, IMAGE_ENCODER)
    text = describe_features(graphs, TEXT_ENCODER, compared=[MATCHING])
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": options.name,
        "clsclip_version": __version__,
        "description": provenance.get("description", architecture.description()),
        "requires": [],
        "model": {
            "towers": towers.name,
            **architecture.section(),
            "layers": towers.layers,
            "patch_size": towers.patch,
            "width": towers.width,
            "heads": int(towers.visual.transformer.resblocks[0].attn.num_heads),
            "d_text": towers.text_width,
            "d_feature": towers.feature_width,
            "fingerprint": towers.fingerprint(),
        },
        "license": provenance.get("license", {"weights": "unknown", "notes": []}),
        "image": asdict(architecture.image),
        "features": features,
        "text": {
            "context_length": towers.context_length,
            "templates": provenance.get("templates", list(architecture.templates)),
            "pad_token_id": 0,
            "features": [{**one, "unit_norm": one["name"] == MATCHING} for one in text],
            "matching": MATCHING,
        },
        "mask": {"threshold": mask_threshold_of(provenance), "height": height, "width": width},
        "presence": architecture.presence() | fitted_presence(provenance),
        "tiles": provenance.get("tiles") if options.tiles_presence is None else tiles(options.tiles_presence),
        "memory": architecture.memory(),
        "profile": options.profile.to_json(),
        "graphs": {file: signature.to_json() for file, signature in graphs.items()},
        "precision": options.precision,
        "opset": OPSET,
        "files": file_entries(folder),
        "provenance": {key: value for key, value in provenance.items() if key != "domain"},
        "tools": {tool: version(tool) for tool in ("torch", "onnx", "onnxruntime", "open_clip_torch", "tokenizers")},
    }
    document |= architecture.more()
    if provenance.get("domain") is not None:
        document["domain"] = provenance["domain"]
    if options.detector is not None:
        document["detector"] = options.detector.section()
        document["license"] = {**document["license"], "parts": {DETECTOR: options.detector.spec.license}}
    return document


def fitted_presence(provenance: Mapping[str, Any]) -> dict[str, float]:
    """What was fitted for presence: the threshold, 0 for none, and how sure a mask must be where that was fitted."""
    least = least_confidence_of(provenance)
    found = {"threshold": provenance.get("presence_threshold") or 0.0}
    return found | ({"least_confidence": least} if least else {})
