"""An FP32 bundle becomes an INT8 one: image graphs quantised and checked against FP32, all else as it was."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import onnx

from clsclip_export.bundle import OWN_WEIGHTS
from clsclip_export.calibration import Calibration, Feeds
from clsclip_export.check_data import WORDS, CheckData
from clsclip_export.errors import PrecisionError
from clsclip_export.int8 import quantized
from clsclip_export.int8_check import MIN_MEAN_IOU, Int8Check, check_int8
from clsclip_export.trial import open_new, try_bundle
from clsclip_export.verify import ALWAYS_FP32
from clsclip_export.weights import WEIGHTS_FILE, save_shared
from clsclip_runtime.bundle.folder import check_target, file_entries, staged_folder
from clsclip_runtime.bundle.opening import DETECTOR, MANIFEST, TEXT_ENCODER, Bundle
from clsclip_runtime.paths import write_json
from clsclip_runtime.text.stored import StoredWords

_log = logging.getLogger(__name__)

STAY_AS_THEY_ARE = (*OWN_WEIGHTS, DETECTOR)
"""Graphs that are copied: the text encoder runs once a word, and all that a word means is in what it gives; a detector
comes from elsewhere."""


def quantize_bundle(
    source: Path,
    out: Path,
    calibration: Calibration,
    data: CheckData,
    *,
    force: bool = False,
    allowed: float = MIN_MEAN_IOU,
) -> Int8Check:
    """Write the INT8 bundle ``out``: nothing is there until everything is right.

    Args:
        source: an FP32 bundle, which is verified first; it may be ``out``.
        out: the bundle, by custom ending in ``.clsclip``.
        calibration: images and words that ranges come from.
        data: images and words to check on; those that are calibrated on are left out.
        force: replace what stands at ``out``.
        allowed: smallest mean IoU of the masks against FP32's; the manifest tells it.

    Returns:
        The figures, which the manifest holds too.

    Raises:
        BundleError: ``source`` is none, or damaged.
        PrecisionError: it is not in FP32, or cannot be quantised.
        CalibrationError: an image cannot be read any more.
        CheckDataError: there is nothing to check on.
        ParityError: the masks are not those of FP32.
        OutputError: ``out`` exists and ``force`` is not set, or its folder cannot be written.
    """
    check_target(out, force=force)
    opened = Bundle.open(source)
    if opened.manifest.precision != "fp32":
        raise PrecisionError(
            f"{source} is in {opened.manifest.precision}, and INT8 is made of FP32. Give --ckpt, or a bundle in FP32."
        )
    if TEXT_ENCODER not in opened.manifest.files:  # it knows the words that it holds alone
        known = StoredWords.of_bundle(opened).words
        calibration = replace(calibration, words=known) if calibration.words == WORDS else calibration
        data = replace(data, words=known) if data.words == WORDS else data
    with staged_folder(out, force=force) as folder:
        _log.info("calibrating on %d images and %d words", len(calibration.paths), len(calibration.words))
        write_graphs(opened, calibration, folder)
        document = dict(opened.manifest.raw)
        document["precision"] = "int8"
        document["files"] = file_entries(folder)
        write_json(folder / MANIFEST, document)
        figures = check_int8(opened, open_new(folder), calibration, data, allowed)
        document["calibration"] = calibration.to_json()
        document["parity"] = {**document.get("parity", {}), "int8": figures.to_json()}
        write_json(folder / MANIFEST, document)
        try_bundle(folder)
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
        model = onnx.load_model_from_string(bundle.graph(name).model())
        protos[name] = quantized(model, feeds.pop(name)) if name in feeds else model
    save_shared(protos, folder, WEIGHTS_FILE)
    bundle.copy(set(bundle.manifest.files) - {*names, WEIGHTS_FILE}, folder)
