"""What ``clsclip-bundle`` shows of bundles: facts, cost on this machine, and how two of them differ."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsclip_runtime import system
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.paths import readable

if TYPE_CHECKING:
    from clsclip_runtime.segmenter import Segmenter

WORDS = (
    *("dog", "cat", "person", "bottle", "boat", "car", "chair", "bus", "horse", "bird"),
    *("sheep", "cow", "train", "sofa", "bicycle", "table", "plant", "airplane", "cup", "tree"),
)
"""Words whose time is taken."""

_ROUNDS = 5
_SIDE = 512
_LEFT_OUT = ("files", "graphs", "parity", "calibration", "tools", "edited")


def facts(bundle: Bundle) -> dict[str, Any]:
    """What a manifest says, in the order in which it is shown."""
    manifest = bundle.manifest
    found: dict[str, Any] = {
        "name": manifest.name,
        "description": manifest.description,
        "path": readable(bundle.folder),
        "precision": manifest.precision,
        "disk_bytes": sum(one.bytes for one in manifest.files.values()),
        "licenses": manifest.licenses,
        "trust": manifest.trust,
        "image_size": manifest.image.size,
        "templates": list(manifest.text.templates),
        "mask_threshold": manifest.mask.threshold,
        "presence_threshold": None if manifest.presence is None else manifest.presence.threshold,
        "detector_classes": None if manifest.detector is None else len(manifest.detector.names),
    }
    notes = manifest.raw.get("license", {}).get("notes")
    return found | ({"license_notes": notes} if notes else {})


def cost(segmenter: Segmenter) -> dict[str, Any]:
    """Milliseconds a picture for 1 and for 20 words, and the most memory that this process held.

    Words are cached after the first round, which does not count. Every word is segmented, whatever its presence.
    """
    known = _words_of(segmenter)
    image = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    found: dict[str, Any] = {"backend": segmenter.backend, "picture": f"{_SIDE}x{_SIDE}"}
    for count in (1, min(20, len(known))):
        times = []
        for number in range(_ROUNDS + 1):
            start = time.perf_counter()
            segmenter(image, known[:count], presence_threshold=0.0)
            times += [time.perf_counter() - start] if number else []
        found[f"ms_{count}_words"] = round(1000 * statistics.median(times), 1)
    found["peak_memory_bytes"] = system.peak_memory()
    return found


def _words_of(segmenter: Segmenter) -> Sequence[str]:
    """Words to ask: of a bundle without a text encoder, those that it knows."""
    from clsclip_runtime.bundle.opening import TEXT_ENCODER
    from clsclip_runtime.text.stored import StoredWords

    bundle = segmenter.bundle
    if TEXT_ENCODER in bundle.manifest.files:
        return WORDS
    return StoredWords.of_bundle(bundle).words[: len(WORDS)]


def differing(one: Mapping[str, Any], other: Mapping[str, Any], name: str = "") -> list[tuple[str, Any, Any]]:
    """Where two manifests differ: dotted key, and both values. Files and graphs are left out."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(one.keys() | other.keys()):
        if not name and key in _LEFT_OUT:
            continue
        own, its = one.get(key), other.get(key)
        if isinstance(own, Mapping) and isinstance(its, Mapping):
            found += differing(own, its, f"{name}{key}.")
        elif own != its:
            found.append((f"{name}{key}", own, its))
    return found


def compare_masks(
    first: Segmenter, second: Segmenter, images: Sequence[Path], words: Sequence[str]
) -> list[dict[str, Any]]:
    """How two models' masks agree, a row for every picture.

    Returns:
        for each picture its name, the mean IoU of the words that one of both marks (None where neither marks any), how
        many those are, the largest difference of presence, and the milliseconds of both.
    """
    rows = []
    for path in images:
        one, other = first(path, words), second(path, words)
        ious = []
        for own, its in zip(one.masks, other.masks, strict=True):
            either = int(np.count_nonzero(own | its))
            ious += [np.count_nonzero(own & its) / either] if either else []
        scores = [
            abs(a.presence - b.presence)
            for a, b in zip(one.searches, other.searches, strict=True)
            if a.presence is not None and b.presence is not None
        ]
        rows.append(
            {
                "picture": readable(path),
                "mean_iou": round(float(np.mean(ious)), 4) if ious else None,
                "words_marked": len(ious),
                "presence_difference": round(max(scores), 4) if scores else None,
                "ms": [round(one.timings["total"], 1), round(other.timings["total"], 1)],
            }
        )
    return rows
