"""What reads mutants: functions that run in a child, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

IMAGE = Path(__file__).parents[2] / "examples" / "cluttered.png"
WORDS = ("bottle", "boat")
MOST_FRAMES = 50


@dataclass(frozen=True)
class Target:
    """A way of reading a file.

    Attributes:
        read: gives what is compared, plain JSON; whatever it raises but the product's errors is a fault.
        modules: imported before the fork, so that every mutant does not pay for them. None of them may have started
            a thread.
    """

    read: Callable[[Path], Any]
    modules: Sequence[str] = ()

    def prepare(self) -> None:
        """Import what it needs."""
        for name in self.modules:
            importlib.import_module(name)


def segment(backend: str, bundle: Path) -> list[int]:
    """Areas of two words in a picture, by a bundle."""
    from clsclip_runtime import Segmenter

    with Segmenter.load(bundle, backend, threads=1, word_cache=False) as segmenter:
        found = segmenter(IMAGE, WORDS, presence_threshold=0)
        return [int(found[word].area) for word in WORDS]


def load_checkpoint(path: Path) -> list[float]:
    """Sums of a checkpoint's learned weights."""
    from clsclip.checkpoint import load_checkpoint

    model, _ = load_checkpoint(path)
    return [float(value.double().sum()) for value in model.learned_state().values()]


def segment_regions(path: Path) -> list[int]:
    """Areas of two words in boxes of a file, by the embedded bundle."""
    from clsclip_runtime import Segmenter
    from clsclip_runtime.regions.files import RegionFile

    boxes = RegionFile(path).of(str(IMAGE))
    with Segmenter.load(None, "onnxruntime-cpu", threads=1, word_cache=False) as segmenter:
        found = segmenter(IMAGE, WORDS, regions=boxes)
        return [int(found[word].area) for word in WORDS]


def read_image(path: Path) -> list[object]:
    """Size of a picture, and how many notes it has."""
    import warnings

    from clsclip_runtime import open_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own
        read = open_image(path)
    return [list(read.image.size), len(read.notes)]


def read_video(path: Path) -> list[int]:
    """Number of a video's first frames, and of pixels in them."""
    from clsclip_runtime.video import open_video

    source, frames, pixels = open_video(path), 0, 0
    try:
        for frame in source.frames():
            frames, pixels = frames + 1, pixels + frame.image.size
            if frames == MOST_FRAMES:
                break
    finally:
        source.close()
    return [frames, pixels]


def masks_of(fold: Any) -> list[list[int]]:
    """Areas of all pairs; AssertionError where a mask is none."""
    import numpy as np

    found = []
    for index, class_id in fold.train_pairs or fold.test_pairs:
        data = fold.train if fold.train_pairs else fold.test
        mask = data.mask(index, class_id)
        if mask.shape != data.image(index).shape[:2] or set(np.unique(mask).tolist()) - {0, 1, 255}:
            raise AssertionError(f"no mask: {mask.shape}, values up to {mask.max(initial=0)}")
        found.append([index, class_id, int((mask == 1).sum())])
    return found


def read_own(root: Path) -> list[list[int]]:
    """Areas of all masks of data of one's own, whose kind is told by what lies there, and their table."""
    from clsclip.data.own import open_own, recognized
    from clsclip.data.summary import summarize

    kind, annotations = recognized(root)
    fold = open_own(kind, root, annotations=annotations, allow_missing=True)
    list(summarize(fold.train).lines())
    return masks_of(fold)


def read_coco_20i(root: Path) -> list[list[int]]:
    """Areas of the masks that a test on COCO asks for. A value but 0 and 1 is a fault."""
    from clsclip.data.coco import open_coco

    return masks_of(open_coco(root, 0, part="test"))


_RUNTIME = (
    *("clsclip_runtime.segmenter", "clsclip_runtime.images", "clsclip_runtime.detectors", "tokenizers", "onnxruntime"),
    *("clsclip_runtime.backends.onnxruntime_cpu", "clsclip_runtime.backends.openvino"),
)

TARGETS: dict[str, Target] = {
    "bundle-onnxruntime": Target(partial(segment, "onnxruntime-cpu"), _RUNTIME),
    "checkpoint": Target(load_checkpoint, ("clsclip.checkpoint",)),
    "regions": Target(segment_regions, (*_RUNTIME, "clsclip_runtime.regions.files")),
    "data-own": Target(read_own, ("clsclip.data.own", "clsclip.data.summary", "pycocotools.mask", "yaml")),
    "data-coco-20i": Target(read_coco_20i, ("clsclip.data.coco", "pycocotools.mask")),
    "bundle-openvino": Target(partial(segment, "openvino"), (*_RUNTIME, "openvino")),
    "picture": Target(read_image, ("clsclip_runtime.images", "numpy", "PIL.Image")),
    "video": Target(read_video, ("clsclip_runtime.video", "av", "numpy")),
}

COMMANDS: dict[str, Sequence[str]] = {
    "bundle-cpp": (
        *("{tool}", str(IMAGE), "--classes", *WORDS, "--bundle", "{}", "--json", "--threads", "1"),
        *("--presence-threshold", "0"),
    ),
    "picture-cpp": ("{tools}/clsclip-read-images", "{folder}", "{}"),
}
"""Programs, by name; ``{tool}`` is the C++ tool, ``{tools}`` the folder of those that tests use, ``{}`` the mutant, and
``{folder}`` its folder."""
