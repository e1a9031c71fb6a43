"""The drawings: which files draw a noun in the judge's styles, as premultiplied color at many sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsclip.errors import DataError
from clsclip_runtime.images import open_stored
from clsclip_runtime.paths import is_dir

FOLDERS = {
    "noto": ("emoji-datasource-google/img/google/64", ".png"),
    "fluent": ("@lobehub/fluent-emoji-3d/assets", ".webp"),
    "twemoji": ("emoji-datasource-twitter/img/twitter/64", ".png"),
}
"""Folder below ``node_modules`` and file ending of every style. The judge asks the first two, which are trained on."""

VARIATION = "fe0f"
"""A code point that some packages write into file names, and others leave out."""

Layer = NDArray[np.float64]


def read_drawing(path: Path) -> Layer:
    """A drawing, (h, w, 4), cut to what is visible. Color is premultiplied by alpha; alpha is 0 to 1."""
    pixels = np.asarray(open_stored(path).convert("RGBA"), np.float64)
    alpha = pixels[..., 3:] / 255
    rows, columns = np.nonzero(alpha[..., 0] > 0.1)
    if not len(rows):
        raise DataError(f"{path} shows nothing: every pixel is transparent. Install its package again.")
    layer = np.concatenate([pixels[..., :3] * alpha, alpha], axis=2)
    return layer[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def halved(layer: Layer) -> Layer:
    """Half the size: the mean of 2 x 2 pixels. An odd side gets one transparent row or column first."""
    height, width = layer.shape[:2]
    padded = np.pad(layer, ((0, height % 2), (0, width % 2), (0, 0)))
    return (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4


def name_of(emoji: str) -> str:
    """The emoji's code points, without the variation selector: ``"1f6e9"``."""
    return "-".join(point for point in (f"{ord(one):04x}" for one in emoji) if point != VARIATION)


class Gallery:
    """The drawings of some styles; each is read when it is first asked for.

    Args:
        root: the ``node_modules`` folder with the packages.
        styles: keys of :data:`FOLDERS`.

    Raises:
        DataError: a package is absent.
    """

    def __init__(self, root: Path, styles: tuple[str, ...]) -> None:
        self._files: dict[str, dict[str, Path]] = {}
        self._read: dict[Path, list[Layer]] = {}
        for style in styles:
            folder, ending = FOLDERS[style]
            if not is_dir(root / folder):
                package = folder.split("/assets")[0].split("/img")[0]
                raise DataError(
                    f"There are no drawings of the style {style} in {root / folder}. Run: npm install {package}"
                )
            found = sorted((root / folder).glob("*" + ending))
            self._files[style] = {name_of_file(path): path for path in found}

    def drawings(self, style: str, emoji: tuple[str, ...]) -> list[Path]:
        """The files of this style that draw one of the emoji, in the emoji's order."""
        files = self._files[style]
        return [files[name] for name in map(name_of, emoji) if name in files]

    def sizes(self, path: Path) -> list[Layer]:
        """The drawing, and its halves down to a few pixels."""
        if path not in self._read:
            layers = [read_drawing(path)]
            while min(layers[-1].shape[:2]) >= 8:
                layers.append(halved(layers[-1]))
            self._read[path] = layers
        return self._read[path]


def name_of_file(path: Path) -> str:
    """A file's code points, without the variation selector, as :func:`name_of` gives them."""
    return "-".join(point for point in path.stem.lower().split("-") if point != VARIATION)
