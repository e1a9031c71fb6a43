"""What an export is checked on: photographs, hostile pictures, words, and every graph's inputs from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clsclip.model import ClsClip
from clsclip.reproduce.stickers.grounds import photographs
from clsclip_export.errors import EvidenceError
from clsclip_runtime.errors import ImageError
from clsclip_runtime.images import open_image

KINDS = ("real", "hostile")

# fmt: off
WORDS = (
    "person", "cat", "dog", "horse", "bird", "car", "bus", "train", "bicycle", "boat", "bottle", "chair", "table",
    "sofa", "plant", "tree", "grass", "sky", "moon", "wall", "floor", "window", "door", "lamp", "book", "cup",
)
# fmt: on
"""Asked by default; a profile with more classes asks them again with other numbers before them."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Evidence:
    """Pictures and words that an export is checked on.

    Attributes:
        pictures: RGB; the default is scikit-image's photographs.
        words: bare, without a template.
    """

    pictures: tuple[Image.Image, ...] = field(
        default_factory=lambda: tuple(Image.fromarray(pixels) for pixels in photographs())
    )
    words: tuple[str, ...] = WORDS

    @classmethod
    def read(cls, folder: Path | None, words: Sequence[str] = ()) -> Evidence:
        """The pictures of a folder, or one file, and words; None and nothing are the defaults.

        Raises:
            EvidenceError: there is no picture, or one cannot be read.
        """
        chosen = tuple(words) or WORDS
        if folder is None:
            found = cls(words=chosen)
        else:
            paths = sorted(folder.iterdir()) if folder.is_dir() else [folder]
            try:
                pictures = tuple(open_image(path).image for path in paths if path.suffix.lower() in SUFFIXES)
            except ImageError as error:
                raise EvidenceError(f"{error}, so the export cannot be checked on it.") from error
            found = cls(pictures, chosen)
        if not found.pictures:
            where = "scikit-image's photographs are not installed" if folder is None else f"{folder} holds none"
            raise EvidenceError(f"An export is checked on pictures, and {where}. Give --check-pictures FOLDER.")
        return found


def hostile_pictures(count: int, size: int) -> list[Image.Image]:
    """What a covered, blinded or broken camera sees: black, white, noise, and one colour at its end, in turn."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    plain = [(0, 0, 0), (255, 255, 255), None, (255, 0, 255)]
    made = [Image.fromarray(noise) if colour is None else Image.new("RGB", (size, size), colour) for colour in plain]
    return [made[index % len(made)] for index in range(count)]


def reference_pixels(model: ClsClip, pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures as the towers were trained on them: (C, 3, S, S) float32. Written beside the runtime's, to check it."""
    image = model.towers.image
    resized = [one.convert("RGB").resize((image.size, image.size), Image.Resampling.BICUBIC) for one in pictures]
    values = torch.from_numpy(np.stack([np.asarray(one) for one in resized])).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(image.mean).view(3, 1, 1)) / torch.tensor(image.std).view(3, 1, 1)


def pictures_of(evidence: Evidence, kind: str, crops: int, size: int) -> list[Image.Image]:
    """``crops`` pictures of one of :data:`KINDS`; ``size`` is the side of hostile ones."""
    if kind == "hostile":
        return hostile_pictures(crops, size)
    return [evidence.pictures[index % len(evidence.pictures)] for index in range(crops)]


@torch.no_grad()
def graph_inputs(model: ClsClip, evidence: Evidence, kind: str, sizes: tuple[int, int, int]) -> dict[str, Tensor]:
    """Inputs of every graph, by name, as PyTorch gives them.

    Args:
        model: in evaluation mode.
        evidence: pictures and words.
        kind: one of :data:`KINDS`.
        sizes: (crops, classes, pairs); pairs reach the first and the last of both.
    """
    crops, classes, pairs = sizes
    towers = model.towers
    pixel_values = reference_pixels(model, pictures_of(evidence, kind, crops, towers.image.size))
    rounds = [
        f"{1 + index // len(evidence.words)} " if index >= len(evidence.words) else "" for index in range(classes)
    ]
    words = [f"{rounds[index]}{evidence.words[index % len(evidence.words)]}" for index in range(classes)]
    token_ids = towers.tokenize([f"a picture of a {word}" for word in words])
    stem, image_features, patch_features = model.encode_image(pixel_values)
    text_tokens = towers.text_tokens(token_ids)
    return {
        "pixel_values": pixel_values,
        "token_ids": token_ids,
        "stem_tokens": stem,
        "image_features": image_features,
        "patch_features": patch_features,
        "text_tokens": text_tokens,
        "text_features": towers.text_features(text_tokens),
        "crop_index": torch.arange(pairs) % crops,
        "class_index": torch.linspace(classes - 1, 0, pairs).round().long(),
    }
