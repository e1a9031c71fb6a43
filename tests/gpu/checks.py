"""What is checked of one way to run a bundle; every function gives figures, and raises where something is wrong."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_export.parity import MIN_COSINE, MIN_IOU, pooled_iou, row_cosines
from clsclip_runtime import Segmenter
from clsclip_runtime.bundle.opening import TRUNK, Bundle
from clsclip_runtime.protocols import Backend
from tests.gpu.material import WORDS, Material, backend_of, full_size_bundle, trunk_operations

FP32_TOLERANCE = 1e-3
"""Between two kinds of processor; the exporter's own, on one, is 1e-4. The figure itself is kept."""

LEAK_MIB = 64
SECONDS = 3.0


class WrongError(Exception):
    """A check found something wrong."""


def compare(found: npt.NDArray[Any], expected: npt.NDArray[Any], mask_logit: float, precision: str) -> dict[str, Any]:
    """Figures of one picture's logits against the CPU's; raises WrongError beyond the gates."""
    figures = {
        "max_difference": float(np.abs(found - expected).max()),
        "min_cosine": float(row_cosines(found, expected).min()),
        "mask_iou": pooled_iou(found > mask_logit, expected > mask_logit),
    }
    iou = 1.0 if figures["mask_iou"] is None else figures["mask_iou"]
    wrong = (
        not figures["max_difference"] <= FP32_TOLERANCE
        if precision == "fp32"
        else not (figures["min_cosine"] >= MIN_COSINE and iou >= MIN_IOU)
    )
    if wrong:
        raise WrongError(f"differs from the CPU: {figures}")
    return figures


def parity(path: str, precision: str, material: Material) -> dict[str, Any]:
    """All pictures and words, against the CPU in FP32."""
    bundle = material.bundles[precision]
    with Segmenter.load(bundle, backend_of(path)(bundle), word_cache=False) as segmenter:
        results = [segmenter(image, WORDS, presence_threshold=0) for image in material.images]
    pairs = zip(results, material.reference, strict=True)
    rows = [compare(one.logits, expected, material.mask_logit, precision) for one, expected in pairs]
    ious = [row["mask_iou"] for row in rows if row["mask_iou"] is not None]
    return {
        "max_difference": max(row["max_difference"] for row in rows),
        "min_cosine": min(row["min_cosine"] for row in rows),
        "min_mask_iou": min(ious, default=None),
        "backend": results[0].backend,
    }


def threads(path: str, precision: str, material: Material) -> dict[str, Any]:
    """Four threads that share a Segmenter get what one gets."""
    bundle, calls = material.bundles[precision], 5
    with Segmenter.load(bundle, backend_of(path)(bundle), word_cache=False) as segmenter:
        alone = [segmenter(one, WORDS, presence_threshold=0).logits for one in material.images]

        def work(number: int) -> float:
            worst = 0.0
            for turn in range(calls):
                at = (number + turn) % len(alone)
                logits = segmenter(material.images[at], WORDS, presence_threshold=0).logits
                worst = max(worst, float(np.abs(logits - alone[at]).max()))
            return worst

        with ThreadPoolExecutor(4) as pool:
            worst = max(pool.map(work, range(4)))
    if not worst <= FP32_TOLERANCE * (1 if precision == "fp32" else 100):
        raise WrongError(f"threads disturb each other: logits differ by {worst}")
    return {"threads": 4, "calls": 4 * calls, "max_difference": worst}


def leaks(path: str, precision: str, material: Material) -> dict[str, Any]:
    """Loading, running and closing again and again leaves the GPU's memory as it was."""
    bundle, rounds = material.bundles[precision], 4
    backend, free = backend_of(path)(bundle), []
    for _ in range(rounds):
        with Segmenter.load(bundle, backend, word_cache=False) as segmenter:
            segmenter(material.images[0], WORDS, presence_threshold=0)
        free.append(free_memory_mib())
    lost = None if free[0] is None else free[0] - (free[-1] or 0)
    if lost is not None and lost > LEAK_MIB:
        raise WrongError(f"{lost:.0f} MiB of the GPU's memory are lost in {rounds - 1} rounds: {free}")
    return {"rounds": rounds, "lost_mib": lost}


def free_memory_mib() -> float | None:
    """Free memory of the GPU; None where there is none."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        return None
    code, free, _ = runtime.cudaMemGetInfo()
    return free / 2**20 if code == runtime.cudaError_t.cudaSuccess else None


def speed(path: str, precision: str, folder: Path, half_rate: float | None) -> dict[str, Any]:
    """Throughput of a full-size model: whole calls, and the trunk alone as a share of what a product reaches."""
    bundle = folder / f"b16_{precision}.clsclip"
    if not bundle.exists():
        full_size_bundle(folder, precision)
    backend = backend_of(path)(bundle)
    words = [f"thing {number}" for number in range(20)]
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    with Segmenter.load(bundle, backend, word_cache=False) as segmenter:
        whole = per_second(lambda: segmenter(image, words, presence_threshold=0))
    pairs = 32
    rate = per_second(trunk_call(bundle, backend, pairs)) * pairs
    operations = rate * trunk_operations(bundle)
    return {
        "images_x_classes_per_second": round(whole * len(words), 1),
        "trunk_pairs_per_second": round(rate, 1),
        "trunk_teraflops": round(operations / 1e12, 3),
        "share_of_measured_half_product": None if half_rate is None else round(operations / half_rate, 4),
    }


def trunk_call(bundle: Path, backend: Backend, pairs: int) -> Any:
    """A call of the trunk with ``pairs`` pairs of one crop, on the host's memory."""
    graph, rng = backend.load(Bundle.open(bundle).graph(TRUNK)), np.random.default_rng(0)
    tokens, width = 1 + (224 // 16) ** 2, 768
    every: dict[str, npt.NDArray[Any]] = {
        "stem_tokens": rng.normal(size=(1, tokens, width)).astype(np.float32),
        "patch_features": rng.normal(size=(1, tokens - 1, 512)).astype(np.float32),
        "text_tokens": rng.normal(size=(pairs, 512)).astype(np.float32),
        "crop_index": np.zeros(pairs, np.int64),
        "class_index": np.arange(pairs),
    }
    feeds = {name: every[name] for name in graph.inputs}
    return lambda: graph.run(feeds)


def per_second(call: Any) -> float:
    """Calls a second, after three that are not counted."""
    for _ in range(3):
        call()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        call()
        calls += 1
    return calls / (time.perf_counter() - start)


def half_product_rate() -> dict[str, Any]:
    """Operations a second of a large half product in PyTorch: what the GPU really reaches."""
    import torch

    if not torch.cuda.is_available():
        raise LookupError("PyTorch finds no GPU")
    size, rates = 8192, {}
    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        first, second = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))

        def call(first: Any = first, second: Any = second) -> None:
            first @ second
            torch.cuda.synchronize()

        rates[name] = per_second(call) * 2 * size**3
    return rates


def torch_on_gpu(material: Material) -> dict[str, Any]:
    """The checkpoint in PyTorch on the GPU, in FP32 and under autocast, against the CPU's bundle."""
    import torch

    from clsclip.checkpoint import load_checkpoint
    from clsclip.preprocessing import image_spec
    from clsclip_runtime.images import open_image, preprocess
    from tests.gpu.material import ROOT

    if not torch.cuda.is_available():
        raise LookupError("PyTorch finds no GPU")
    model, header = load_checkpoint(ROOT / "models" / "stickers" / "last.safetensors")
    template = header["provenance"].get("templates", ["a picture of a {}"])[0]
    tokens, _ = model.encode_words([template.format(word) for word in WORDS])
    figures: dict[str, Any] = {}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = model.cuda()
    for name, dtype in (("fp32", None), ("fp16", torch.float16), ("bf16", torch.bfloat16)):
        rows = []
        for image, expected in zip(material.images, material.reference, strict=True):
            pixels = preprocess(open_image(image).image, image_spec(model))[None]
            count = torch.arange(len(WORDS), device="cuda")
            with torch.no_grad(), torch.autocast("cuda", dtype or torch.float16, enabled=dtype is not None):
                logits = model(torch.from_numpy(pixels).cuda(), tokens.cuda(), torch.zeros_like(count), count)
            rows.append(compare(logits.float().cpu().numpy(), expected, material.mask_logit, name))
        figures[name] = {key: rows[0][key] for key in rows[0]}
    return figures
