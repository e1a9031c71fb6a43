"""The line that tells images which a model does not know: between its own features of images near and far.

A runtime draws it through the mean and the standard deviation over places of what the image encoder gives anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip.reproduce.stickers.images import StickerWorld
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip_runtime.images import preprocess
from clsclip_runtime.inference.domain import pooled

FEATURES = ("stem_tokens", "image_features", "patch_features")
"""What ``ClsClip.encode_image`` gives, by the names in bundles."""

NAME = "stickers"
DESCRIPTION = "emoji pasted on cluttered grounds, not photographs"

RIDGE = 0.03
"""Of the squared weights of normalized sums, beside the mean squared error."""

WRONG = 0.01
"""The share of near images that may be told, on those that the bias is set on."""

_FORMAT = "%.6g"
"""Of numbers, so that manifests stay readable."""

Doubles = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """A line through pooled features: above 0 an image is far.

    Attributes:
        weights: (D,), those of :data:`FEATURES` one after the other.
        bias: added.
        widths: how many weights each feature has.
    """

    weights: Doubles
    bias: float
    widths: tuple[int, ...]

    def told(self, features: Doubles) -> float:
        """The share of images that are far; (N, D)."""
        return float((features @ self.weights + self.bias > 0).mean())

    def to_json(self) -> dict[str, Any]:
        """The manifest's ``domain``."""
        parts = np.split(self.weights, np.cumsum(self.widths)[:-1])
        weights = {name: part.tolist() for name, part in zip(FEATURES, parts, strict=True)}
        return {"name": NAME, "description": DESCRIPTION, "test": {"weights": weights, "bias": self.bias}}


def pooled_features(model: ClsClip, images: Iterable[Pixels]) -> tuple[Doubles, tuple[int, ...]]:
    """Pool the features of each image: (N, D) float64, and how many numbers each of :data:`FEATURES` has.

    Args:
        model: the one whose domain it is.
        images: (H, W, 3) uint8 RGB each, of any size; at least one.
    """
    spec, rows, widths = image_spec(model), [], tuple[int, ...]()
    with torch.no_grad():
        for image in images:
            found = model.encode_image(torch.from_numpy(preprocess(Image.fromarray(image), spec)[None]))
            parts = [pooled(one[0].numpy()) for one in found[: len(FEATURES)]]
            widths = tuple(len(part) for part in parts)
            rows.append(np.concatenate(parts))
    return np.stack(rows), widths


def fit_line(near: Doubles, far: Doubles, widths: tuple[int, ...]) -> Line:
    """Fit a line by ridge regression, near and far images weighing the same.

    Args:
        near: (N, D) of images that the model knows. Three of four are what the weights are fitted on, and the bias is
            set on the others.
        far: (M, D) of images that it does not know.
        widths: of the features, whose sum is D.
    """
    others = np.arange(len(near)) % 4 == 3
    fitted = near[~others]
    inputs = np.concatenate([fitted, far])
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    rows = np.column_stack([(inputs - mean) / scale, np.ones(len(inputs))])
    truth, counts = np.repeat([-1.0, 1.0], [len(fitted), len(far)]), [len(fitted), len(far)]
    share = np.repeat([0.5 / len(fitted), 0.5 / len(far)], counts)
    penalty = np.diag([RIDGE] * near.shape[1] + [0.0])
    solved = np.linalg.solve((rows * share[:, None]).T @ rows + penalty, (rows * share[:, None]).T @ truth)
    weights = np.array([float(_FORMAT % one) for one in solved[:-1] / scale])
    bias = -float(np.quantile(near[others] @ weights, 1 - WRONG))
    return Line(weights, float(_FORMAT % bias), widths)


def sticker_images(book: StickerBook, count: int, seed: int) -> Iterator[Pixels]:
    """Make sticker pictures of the kinds that the embedded model was trained on: scenes, small ones, close-ups."""
    scenes = StickerWorld(book, side=256, sizes=(0.02, 0.6), things=(1, 8), seed=seed)
    small = StickerWorld(book, side=128, sizes=(0.05, 0.7), things=(1, 7), seed=seed)
    close = StickerWorld(book, side=256, sizes=(0.5, 1.1), things=(1, 2), seed=seed)
    worlds = (scenes, small, scenes, close)
    for index in range(count):
        yield worlds[index % len(worlds)].image(index).pixels
