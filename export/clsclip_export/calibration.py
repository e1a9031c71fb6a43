"""What INT8 is calibrated on: a person's own images and words, and the inputs of every graph that come of them.

A quantized tensor has 255 steps between the largest value that it took in calibration and its negative; what goes
beyond is cut off. So the images must be like those that the model will see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_export.check_data import WORDS, stress_images
from clsclip_export.errors import CalibrationError
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.bundle.opening import TEXT_ENCODER, Bundle
from clsclip_runtime.errors import ImageError
from clsclip_runtime.images import SUFFIXES, open_image, preprocess
from clsclip_runtime.paths import file_sha256, is_dir
from clsclip_runtime.protocols import Graph
from clsclip_runtime.text.encoder import TextEncoder

Feeds = dict[str, npt.NDArray[Any]]

FEWEST_IMAGES = 8
"""With fewer the ranges are those of single images."""

MOST_IMAGES = 128
"""Of more, so many are taken, evenly spaced: ranges hardly grow any more."""

WORDS_AN_IMAGE = 4

STRESS_IMAGES = 4

TEXT_MEMORY_MB = 256


@dataclass(frozen=True)
class Calibration:
    """Images and words.

    Attributes:
        paths: of the images that are used.
        digests: SHA-256 of every image's pixels, in the order of ``paths``.
        files: SHA-256 of all their files together.
        words: asked in turn, :data:`WORDS_AN_IMAGE` of every image.
        found: how many images the folder has.
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    files: str
    words: tuple[str, ...]
    found: int

    @classmethod
    def read(cls, folder: Path, words: Sequence[str] = ()) -> Calibration:
        """Choose and read the images of a folder; no words are the nouns that exports are checked with.

        Raises:
            CalibrationError: it is no folder, has too few images, or one cannot be read.
        """
        if not is_dir(folder):
            raise CalibrationError(f"{folder} is no folder. Give --calibration-images a folder of images.")
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if len(found) < FEWEST_IMAGES:
            raise CalibrationError(
                f"{folder} has {len(found)} images (JPEG, PNG, ...), and INT8 needs at least "
                f"{FEWEST_IMAGES}, like those that the model will see; 50 and more are better."
            )
        count = min(len(found), MOST_IMAGES)
        paths = tuple(found[index * len(found) // count] for index in range(count))
        try:
            digests = tuple(pixels_sha256(open_image(path).image) for path in paths)
            files = hashlib.sha256("".join(file_sha256(path) for path in paths).encode()).hexdigest()
        except (ImageError, OSError) as error:
            raise CalibrationError(f"{error}, so INT8 cannot be calibrated on it. Take it out of {folder}.") from error
        return cls(paths, digests, files, tuple(words) or WORDS, len(found))

    def to_json(self) -> dict[str, Any]:
        """What the manifest tells: not the images' names, which may be private."""
        return {"images": len(self.paths), "of": self.found, "sha256": self.files, "words": list(self.words)}

    def disjoint(self, images: Sequence[Image.Image]) -> tuple[Image.Image, ...]:
        """Those of ``images`` that are not calibrated on."""
        known = set(self.digests)
        return tuple(one for one in images if pixels_sha256(one) not in known)

    def _images(self, size: int) -> Iterator[Image.Image]:
        """The images one at a time, then stress ones: what a covered or blinded camera sees must not be cut off."""
        for path in self.paths:
            yield open_image(path).image
        yield from stress_images(STRESS_IMAGES, size)

    def inputs(self, bundle: Bundle, graphs: Sequence[str]) -> Iterator[dict[str, Feeds]]:
        """Inputs of every graph of a bundle, by file, one image and some words at a time; stress images come last.

        Args:
            bundle: in FP32; its graphs give each other's inputs.
            graphs: files, in any order.

        Raises:
            CalibrationError: a graph takes an input that no other gives.
        """
        engine = OnnxRuntimeCpu()
        loaded = {name: engine.load(bundle.graph(name)) for name in graphs}
        text = text_encoder(bundle)
        for index, image in enumerate(self._images(bundle.manifest.image.size)):
            words = [self.words[(index * WORDS_AN_IMAGE + at) % len(self.words)] for at in range(WORDS_AN_IMAGE)]
            encoded = text.encode(words)
            known: Feeds = {
                "pixel_values": preprocess(image, bundle.manifest.image)[None],
                **encoded.arrays,
                "crop_index": np.zeros(len(words), np.int64),
                "class_index": np.arange(len(words), dtype=np.int64),
            }
            yield graph_inputs(loaded, known)


def text_encoder(bundle: Bundle) -> TextEncoder:
    """The text encoder of a bundle, in ONNX Runtime on the CPU; words that the bundle holds need no graph."""
    graph = OnnxRuntimeCpu().load(bundle.graph(TEXT_ENCODER)) if TEXT_ENCODER in bundle.manifest.files else None
    return TextEncoder.from_bundle(bundle, graph, memory_mb=TEXT_MEMORY_MB)


def graph_inputs(graphs: Mapping[str, Graph], known: Feeds) -> dict[str, Feeds]:
    """Inputs of every graph: what is known, and what graphs make of it for others."""
    known, feeds = dict(known), dict[str, Feeds]()
    while len(feeds) < len(graphs):
        waiting = {name: graph for name, graph in graphs.items() if name not in feeds}
        ready = {name: graph for name, graph in waiting.items() if set(graph.inputs) <= set(known)}
        if not ready:
            stuck, graph = next(iter(waiting.items()))
            missing = ", ".join(sorted(set(graph.inputs) - set(known)))
            raise CalibrationError(f"{stuck} takes {missing}, which no graph gives. Export the bundle again.")
        for name, graph in ready.items():
            feeds[name] = {value: known[value] for value in graph.inputs}
            if any(set(graph.outputs) & set(other.inputs) - set(known) for other in waiting.values()):
                known = graph.run(feeds[name]) | known
    return feeds


def pixels_sha256(image: Image.Image) -> str:
    """SHA-256 of an image's size and pixels, however it was stored."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).hexdigest()
