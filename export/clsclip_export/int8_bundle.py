"""An FP32 bundle becomes an INT8 one: image graphs quantised and checked against FP32, all else as it was."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import onnx

from clsclip_export.bundle import ALWAYS_FP32, OWN_WEIGHTS, WEIGHTS_FILE, file_entry, replace_folder
from clsclip_export.calibration import Calibration, Feeds
from clsclip_export.check_data import Evidence
from clsclip_export.errors import PrecisionError, TargetError
from clsclip_export.int8 import quantised
from clsclip_export.int8_check import Int8Check, check_int8
from clsclip_export.weights import save_shared
from clsclip_runtime.bundle.opening import DETECTOR, MANIFEST, Bundle

STAY_AS_THEY_ARE = (*OWN_WEIGHTS, DETECTOR)
"""Graphs that are copied: the text encoder runs once a word, and all that a word means is in what it gives; a detector
comes from elsewhere."""


def quantise_bundle(
    source: Path, out: Path, calibration: Calibration, evidence: Evidence, *, force: bool = False
) -> Int8Check:
    """Write the INT8 bundle ``out``: nothing is there until everything is right.

    Args:
        source: an FP32 bundle, which is verified first; it may be ``out``.
        out: the bundle, by custom ending in ``.clsclip``.
        calibration: pictures and words that ranges come from.
        evidence: pictures and words to check on; those that are calibrated on are left out.
        force: replace what stands at ``out``.

    Returns:
        The figures, which the manifest holds too.

    Raises:
        BundleError: ``source`` is none, or damaged.
        PrecisionError: it is not in FP32, or cannot be quantised.
        CalibrationError: a picture cannot be read any more.
        EvidenceError: there is nothing to check on.
        ParityError: the masks are not those of FP32.
        TargetError: ``out`` exists and ``force`` is not set, or its folder cannot be written.
    """
    if out.exists() and not force:
        raise TargetError(f"{out} exists. Give --force to replace it, or another --out.")
    opened = Bundle.open(source)
    if opened.manifest.precision != "fp32":
        raise PrecisionError(
            f"{source} is in {opened.manifest.precision}, and INT8 is made of FP32. Give --ckpt, or a bundle in FP32."
        )
    scratch = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        scratch.chmod(0o755)
        write_graphs(opened, calibration, scratch)
        document = dict(opened.manifest.raw)
        document["precision"] = "int8"
        document["files"] = {name: file_entry(scratch / name) for name in opened.manifest.files}
        write_manifest(scratch, document)
        figures = check_int8(opened, Bundle.open(scratch), calibration, evidence)
        document["calibration"] = calibration.to_json()
        document["parity"] = {**document.get("parity", {}), "int8": figures.to_json()}
        write_manifest(scratch, document)
        replace_folder(scratch, out)
    except OSError as error:
        raise TargetError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return figures


def write_graphs(bundle: Bundle, calibration: Calibration, folder: Path) -> None:
    """Quantised graphs with their weights in one file, and copies of everything else."""
    names = [name for name in bundle.manifest.files if name.endswith(".onnx") and name not in STAY_AS_THEY_ARE]
    chosen = [name for name in names if name not in ALWAYS_FP32]
    feeds: dict[str, list[Feeds]] = {name: [] for name in chosen}
    for one in calibration.inputs(bundle, chosen):
        for name, inputs in one.items():
            feeds[name].append(inputs)
    protos = {}
    for name in names:
        model = onnx.load(bundle.path(name))
        protos[name] = quantised(model, feeds.pop(name)) if name in feeds else model
    save_shared(protos, folder, WEIGHTS_FILE)
    for name in set(bundle.manifest.files) - {*names, WEIGHTS_FILE}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path(name), folder / name)


def write_manifest(folder: Path, document: dict[str, Any]) -> None:
    """Write ``manifest.json``."""
    (folder / MANIFEST).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
