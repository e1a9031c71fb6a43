"""What all peers work on: one model of random weights at CLIP ViT-B/16's size, its bundles, one picture, its words.

Speed does not depend on what weights know. The seed is fixed, so every process builds the same model.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_bench.case import Workload
from clsclip_bench.operations import count_operations
from clsclip_bench.ours import made_image, words
from clsclip_runtime.bundle.manifest import parse_manifest
from clsclip_runtime.bundle.specs import ImageSpec
from clsclip_runtime.paths import is_file

SEED = 0
SIDE = 224
TEMPLATE = "a picture of a {}"
PATCH, LAYERS, DECODER_LAYERS = 16, 12, 2
"""Of ViT-B/16, and of the decoder."""

CALIBRATION_IMAGES = 32

SEGMENTER = "segmenter.onnx"


def full_size_model() -> Any:
    """A ClsCLIP on a ViT-B/16, random weights, in evaluation mode."""
    import torch

    from clsclip.model import ClsClip, ModelConfig
    from clsclip.tower_files import load_towers

    torch.manual_seed(SEED)
    return ClsClip(load_towers("ViT-B-16"), ModelConfig(decoder_heads=12, decoder_layers=DECODER_LAYERS)).eval()


def bundle_of(folder: Path, precision: str = "fp32") -> Path:
    """The model's bundle in one precision, exported where it is not there yet.

    Raises:
        ExportError: this version cannot export that precision, or the export is not right.
    """
    from clsclip_export.bundle import write_bundle
    from clsclip_export.options import BundleOptions
    from clsclip_export.profiles import Profile

    out = folder / f"b16-{precision}.clsclip"
    if is_file(out / "manifest.json"):
        return out
    if precision == "int8":
        quantise(bundle_of(folder), out)
    else:
        profile = Profile((1, 1, 1), (1, 1, 2), (1, 1, 2))  # parity at full size is the export's own test
        options = BundleOptions("random ViT-B/16", precision, profile)
        write_bundle(full_size_model(), {}, out, options, force=True)
    return out


def quantise(source: Path, out: Path) -> None:
    """An INT8 bundle of an FP32 one, calibrated on made pictures, by the command as a user calls it.

    Raises:
        PrecisionError: this version cannot, or the result is not good enough; standard error says why.
    """
    from clsclip_export.errors import PrecisionError

    with TemporaryDirectory() as images:
        for seed in range(CALIBRATION_IMAGES):
            Image.fromarray(made_image(SIDE, SIDE, seed)).save(Path(images) / f"{seed}.png")
        command = [
            sys.executable,
            "-m",
            "clsclip_export.cli",
            "--from-bundle",
            str(source),
            "--out",
            str(out),
            "--force",
        ]
        command += ["--int8", "--calibration-images", images]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise PrecisionError(f"clsclip-export --int8 failed: {lines[-1]}")


@cache
def image() -> npt.NDArray[np.uint8]:
    """(224, 224, 3) uint8, the picture of every row."""
    return made_image(SIDE, SIDE)


def texts(workload: Workload) -> list[str]:
    """The prompted words of a workload."""
    return [TEMPLATE.format(word) for word in words(workload.classes)]


def image_spec(bundle: str) -> ImageSpec:
    """How the bundle wants pictures."""
    return parse_manifest((Path(bundle) / "manifest.json").read_bytes()).image


def operations(bundle: str, crops: int, classes: int, pairs: int) -> float:
    """Of one call of the whole graph."""
    return count_operations(Path(bundle) / SEGMENTER).at(C=crops, K=classes, P=pairs)


def text_tokens(bundle: str, workload: Workload) -> npt.NDArray[np.float32]:
    """(K, d_text) of the workload's words, by the bundle's own text encoder; kept beside it for other processes."""
    from clsclip_runtime.backends.select import select_backend
    from clsclip_runtime.bundle.opening import TEXT_ENCODER, Bundle
    from clsclip_runtime.text.encoder import TextEncoder

    kept = Path(bundle).parent / f"tokens-{workload.classes}.npy"
    if is_file(kept):
        tokens: npt.NDArray[np.float32] = np.load(kept, allow_pickle=False)
        return tokens
    opened = Bundle.open(bundle)
    graph = select_backend("onnxruntime-cpu").load(opened.graph(TEXT_ENCODER))
    tokens = TextEncoder.from_bundle(opened, graph).encode(words(workload.classes)).arrays["text_tokens"]
    scratch = kept.with_name(f".{os.getpid()}.npy")
    np.save(scratch, tokens, allow_pickle=False)
    scratch.replace(kept)
    return tokens


if __name__ == "__main__":
    bundle_of(Path(sys.argv[1]))
