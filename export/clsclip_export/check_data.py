"""What an export is checked on: real images, images that stress a model, words, and every graph's inputs from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clsclip.base import WordSegmenter
from clsclip.photographs import photographs
from clsclip_export.architectures import architecture_of
from clsclip_export.errors import CheckDataError
from clsclip_runtime.errors import ImageError
from clsclip_runtime.images import SUFFIXES, open_image
from clsclip_runtime.paths import is_dir

KINDS = ("real", "stress")

# fmt: off
WORDS = (
    "person", "cat", "dog", "horse", "bird", "car", "bus", "train", "bicycle", "boat", "bottle", "chair", "table",
    "sofa", "plant", "tree", "grass", "sky", "moon", "wall", "floor", "window", "door", "lamp", "book", "cup",
)
# fmt: on
"""Asked by default; a profile with more classes asks them again with other numbers before them."""


@dataclass(frozen=True)
class CheckData:
    """Images and words that an export is checked on.

    Attributes:
        images: RGB; the default is scikit-image's photographs.
        words: bare, without a template.
    """

    images: tuple[Image.Image, ...] = field(
        default_factory=lambda: tuple(Image.fromarray(pixels) for pixels in photographs())
    )
    words: tuple[str, ...] = WORDS

    @classmethod
    def read(cls, folder: Path | None, words: Sequence[str] = ()) -> CheckData:
        """Read the images of a folder, or one file, and take words; None and nothing are the defaults.

        Raises:
            CheckDataError: there is no image, or one cannot be read.
        """
        chosen = tuple(words) or WORDS
        if folder is None:
            found = cls(words=chosen)
        else:
            paths = sorted(folder.iterdir()) if is_dir(folder) else [folder]
            try:
                images = tuple(open_image(path).image for path in paths if path.suffix.lower() in SUFFIXES)
            except ImageError as error:
                raise CheckDataError(f"{error}, so the export cannot be checked on it.") from error
            found = cls(images, chosen)
        if not found.images:
            where = "scikit-image's photographs are not installed" if folder is None else f"{folder} holds none"
            raise CheckDataError(f"An export is checked on images, and {where}. Give --check-images FOLDER.")
        return found


def stress_images(count: int, size: int) -> list[Image.Image]:
    """Make what a covered, blinded or broken camera sees: black, white, noise, and one colour at its end, in turn."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    plain = [(0, 0, 0), (255, 255, 255), None, (255, 0, 255)]
    made = [Image.fromarray(noise) if color is None else Image.new("RGB", (size, size), color) for color in plain]
    return [made[index % len(made)] for index in range(count)]


def reference_pixels(model: WordSegmenter, images: Sequence[Image.Image]) -> Tensor:
    """Prepare images as for the towers in training: (C, 3, S, S) float32. Written beside the runtime's, to check it."""
    spec = architecture_of(model).image
    size, resampling = (spec.size, spec.size), Image.Resampling[spec.interpolation.upper()]
    resized = [one.convert("RGB").resize(size, resampling) for one in images]
    values = torch.from_numpy(np.stack([np.asarray(one) for one in resized])).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)


def images_of(data: CheckData, kind: str, crops: int, size: int) -> list[Image.Image]:
    """Give ``crops`` images of one of :data:`KINDS`; ``size`` is the side of stress images."""
    if kind == "stress":
        return stress_images(crops, size)
    return [data.images[index % len(data.images)] for index in range(crops)]


def graph_inputs(model: WordSegmenter, data: CheckData, kind: str, sizes: tuple[int, int, int]) -> dict[str, Tensor]:
    """Compute the inputs of every graph, by name, with PyTorch.

    Args:
        model: in evaluation mode.
        data: images and words.
        kind: one of :data:`KINDS`.
        sizes: (crops, classes, pairs); pairs reach the first and the last of both.
    """
    crops, classes, pairs = sizes
    architecture = architecture_of(model)
    pixel_values = reference_pixels(model, images_of(data, kind, crops, model.towers.image.size))
    rounds = [f"{1 + index // len(data.words)} " if index >= len(data.words) else "" for index in range(classes)]
    words = [f"{rounds[index]}{data.words[index % len(data.words)]}" for index in range(classes)]
    token_ids = model.towers.tokenize([architecture.templates[0].format(word) for word in words])
    index = torch.arange(pairs) % crops, torch.linspace(classes - 1, 0, pairs).round().long()
    return architecture.tensors(pixel_values, token_ids, index)
