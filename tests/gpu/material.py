"""What the GPU is tried on: bundles in every precision, pictures, words; and every way to run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_export.engines.build import build_engines
from clsclip_export.engines.options import EngineOptions
from clsclip_export.profiles import Profile
from clsclip_runtime import Segmenter
from clsclip_runtime.backends.select import BACKENDS
from clsclip_runtime.backends.tensorrt.edition import find_edition
from clsclip_runtime.backends.tensorrt.engine_files import this_machine
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.protocols import Backend
from tests.export.engine_bundles import embedded_bundle

ROOT = Path(__file__).parents[2]
PRECISIONS = ("fp32", "fp16", "bf16")
WORDS = ["bottle", "boat", "dog", "fish", "pizza", "cat", "car", "tree", "house", "moon", "book", "key"]
IMAGES = 3

PATHS = ("onnxruntime-cpu", "tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt-rtx")
"""Ways to run a bundle. The CPU is one of them so that this very code is tried where there is no GPU."""


@dataclass(frozen=True)
class Material:
    """Bundles by precision, pictures, and what the CPU makes of them in FP32.

    Attributes:
        bundles: folder by precision.
        images: (S, S, 3) uint8.
        reference: mask logits (K, h, w) of every picture.
        mask_logit: the logit above which a pixel belongs to a mask.
    """

    bundles: dict[str, Path]
    images: list[npt.NDArray[np.uint8]]
    reference: list[npt.NDArray[np.float32]]
    mask_logit: float


def make_material(folder: Path) -> Material:
    """The embedded model in every precision, and the CPU's answers."""
    bundles = {name: embedded_bundle(folder / f"{name}.clsclip", name) for name in PRECISIONS}
    image = Image.open(ROOT / "examples" / "cluttered.png").convert("RGB")
    images = [np.asarray(image.rotate(90 * turn)) for turn in range(IMAGES)]
    with Segmenter.load(bundles["fp32"], "onnxruntime-cpu") as segmenter:
        results = [segmenter(one, WORDS, presence_threshold=0) for one in images]
    return Material(bundles, images, [one.logits for one in results], results[0].mask_logit)


def backend_of(path: str) -> Callable[[Path], Backend]:
    """What makes the engine of a path for a bundle; TensorRT's engines are built where they are missing."""

    def make(bundle: Path) -> Backend:
        if path not in ("tensorrt", "tensorrt-rtx"):
            return BACKENDS[path](None)
        from clsclip_runtime.backends.tensorrt.backend import TensorRt

        edition = find_edition(path)
        backend = TensorRt(edition)  # before anything is built for nothing
        list(build_engines(Bundle.open(bundle), edition, this_machine(edition), EngineOptions(Profile())))
        return backend

    return make


def full_size_bundle(folder: Path, precision: str) -> Path:
    """A ViT-B/16 of random weights: its speed is that of a trained one."""
    import torch

    from clsclip.model import ClsClip, ModelConfig
    from clsclip.tower_files import load_towers
    from clsclip_export.bundle import write_bundle
    from clsclip_export.options import BundleOptions

    torch.manual_seed(0)
    model = ClsClip(load_towers("ViT-B-16"), ModelConfig(decoder_heads=12)).eval()
    out = folder / f"b16_{precision}.clsclip"
    profile = Profile((1, 1, 1), (1, 1, 2), (1, 1, 2))  # parity is the export's own test
    write_bundle(model, {}, out, BundleOptions("random ViT-B/16", precision, profile))
    return out


def trunk_operations(bundle: Path) -> float:
    """Floating point operations of the trunk's products for one pair; multiplying and adding are two."""
    model = json.loads((bundle / "manifest.json").read_text("utf-8"))
    image, facts = model["image"], model["model"]
    tokens, width = 1 + (image["size"] // facts["patch_size"]) ** 2, facts["width"]
    decoder_layers = 2
    layers = facts["layers"] - min(facts["navigation_layers"]) + decoder_layers
    return float(layers * (2 * tokens * 12 * width**2 + 4 * tokens**2 * width))
