"""Bundles to build engines of: the embedded model in a folder of the test's own, as it is and made half."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx

from clsclip_export.bundle import OWN_WEIGHTS
from clsclip_export.precision import to_half
from clsclip_export.verify import ALWAYS_FP32
from clsclip_export.weights import WEIGHTS_FILE, save_shared
from clsclip_runtime.bundle.folder import file_entry
from clsclip_runtime.bundle.opening import EMBEDDED


def embedded_bundle(folder: Path, precision: str = "fp32") -> Path:
    """The embedded model in ``precision``; its parity is tested elsewhere, and not again here."""
    shutil.copytree(EMBEDDED, folder)
    if precision == "fp32":
        return folder
    graphs = {}
    for path in sorted(folder.glob("*.onnx")):
        model = onnx.load(path)
        graphs[path.name] = model if path.name in ALWAYS_FP32 else to_half(model, precision)
    for name in OWN_WEIGHTS:
        (folder / name).write_bytes(graphs.pop(name).SerializeToString())
    save_shared(graphs, folder, WEIGHTS_FILE)
    sign(folder, precision)
    return folder


def sign(folder: Path, precision: str) -> None:
    """Make the manifest state ``precision`` and the digests of the files that are there now."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text("utf-8"))
    document["precision"] = precision
    document["files"] = {name: file_entry(folder / name) for name in document["files"]}
    path.write_text(json.dumps(document), "utf-8")
