"""A contact sheet: some pictures of a data set with their masks over them, to see whether they fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clsclip.data.base import IGNORE, MaskDataset
from clsclip.errors import DataError
from clsclip_runtime.results.overlay import colors

_SIDE, _TEXT, _GAP, _COLUMNS = 256, 14, 8, 4
_FILL = 0.5
_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_MOST_WORDS = 3


def contact_sheet(data: MaskDataset, count: int = 24) -> tuple[Image.Image, list[str]]:
    """Draw pictures from all over a data set, those that show something first.

    Args:
        data: it.
        count: pictures at most.

    Returns:
        the sheet, RGB, and what could not be read: a picture that is damaged is passed over.
    """
    chosen = _chosen(data, count)
    palette = colors(len(data.classes))
    tiles: list[Image.Image] = []
    damaged: list[str] = []
    for index in chosen:
        try:
            tiles.append(_tile(data, index, palette))
        except DataError as error:
            damaged.append(str(error))
    rows = -(-len(tiles) // _COLUMNS)
    high = _SIDE + 2 * _TEXT + _GAP
    columns = max(1, min(_COLUMNS, len(tiles)))
    sheet = Image.new("RGB", (columns * (_SIDE + _GAP) + _GAP, max(1, rows) * high + _GAP), _PAPER)
    for at, tile in enumerate(tiles):
        row, column = divmod(at, _COLUMNS)
        sheet.paste(tile, (_GAP + column * (_SIDE + _GAP), _GAP + row * high))
    return sheet, damaged


def _chosen(data: MaskDataset, count: int) -> list[int]:
    """Indices from all over the data, so that every class is seen where that is possible."""
    order = np.random.default_rng(0).permutation(len(data)).tolist()
    seen: set[int] = set()
    first: list[int] = []
    later: list[int] = []
    bare: list[int] = []
    for index in order:
        shown = set(data.shown(index))
        (first if shown - seen else later if shown else bare).append(index)
        seen |= shown
    return sorted([*first, *later, *bare][:count])


def _tile(data: MaskDataset, index: int, palette: NDArray[np.uint8]) -> Image.Image:
    pixels = data.image(index)
    scale = _SIDE / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX), np.float32)
    shown = data.shown(index)
    for class_id in shown:
        mask = data.mask(index, class_id)
        cover = np.asarray(Image.fromarray((mask == 1).astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
        share = cover[..., None].astype(np.float32) / 255 * _FILL
        small = small * (1 - share) + palette[class_id] * share
        hidden = np.asarray(Image.fromarray((mask == IGNORE).astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
        stripes = (np.indices(hidden.shape).sum(0) // 4 % 2 == 0) & (hidden > 127)
        small = np.where(stripes[..., None], np.float32(128), small)
    tile = Image.new("RGB", (_SIDE, _SIDE + 2 * _TEXT), _PAPER)
    tile.paste(Image.fromarray(small.round().astype(np.uint8)))
    draw = ImageDraw.Draw(tile)
    draw.text((0, _SIDE), _cut(draw, data.key(index)), fill=_INK)
    left = 0
    for class_id in shown[:_MOST_WORDS]:
        word = _cut(draw, data.classes[class_id], _SIDE // _MOST_WORDS - 14)
        draw.rectangle((left, _SIDE + _TEXT + 2, left + 8, _SIDE + _TEXT + 10), fill=tuple(palette[class_id].tolist()))
        draw.text((left + 11, _SIDE + _TEXT), word, fill=_INK)
        left += _SIDE // _MOST_WORDS
    return tile


def _cut(draw: ImageDraw.ImageDraw, text: str, width: float = _SIDE) -> str:
    """As much of a text as fits, in characters that the font has."""
    known = text.encode("ascii", "replace").decode()
    while known and draw.textlength(known) > width:
        known = known[:-1]
    return known
