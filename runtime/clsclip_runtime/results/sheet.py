"""Contact sheets: many images with their masks, small, each with its name and with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from clsclip_runtime.errors import printable
from clsclip_runtime.paths import make_folder, write_file
from clsclip_runtime.results.fonts import font_for
from clsclip_runtime.results.overlay import fit_text, overlay

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

COLUMNS, ROWS = 4, 6
TILES = COLUMNS * ROWS
"""Images of one sheet."""

_SIDE, _GAP, _SIZE = 320, 10, 14
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (120, 120, 120)


class ContactSheets:
    """Takes results one by one, and writes a sheet whenever one is full: ``sheet.png``, ``sheet-2.png``, ...

    Attributes:
        done: the sheets that are written.
    """

    def __init__(self, folder: Path) -> None:
        """Sheets of images in ``folder``; nothing is made yet."""
        self._folder = folder
        self._tiles: list[Image.Image] = []
        self.done: list[Path] = []

    def add(self, name: str, result: Result) -> Path:
        """Draw a result; returns the sheet that it is, or will be, on. OutputError."""
        path = self._folder / sheet_name(len(self.done))
        make_folder(self._folder)
        self._tiles.append(_tile(name, result))
        if len(self._tiles) == TILES:
            self.close()
        return path

    def close(self) -> None:
        """Write the sheet that is not full, if there is one. OutputError."""
        if not self._tiles:
            return
        sheet, path = arranged(self._tiles), self._folder / sheet_name(len(self.done))
        write_file(path, lambda file: sheet.save(file, "PNG"))
        self.done.append(path)
        self._tiles = []


def sheet_name(number: int) -> str:
    """The name of a sheet, counted from 0."""
    return f"sheet-{number + 1}.png" if number else "sheet.png"


def arranged(tiles: Sequence[Image.Image]) -> Image.Image:
    """Tiles of one size in rows, from left to right."""
    columns = min(COLUMNS, len(tiles))
    width, height = tiles[0].width + _GAP, tiles[0].height + _GAP
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _PAPER)
    for at, tile in enumerate(tiles):
        sheet.paste(tile, (_GAP + at % columns * width, _GAP + at // columns * height))
    return sheet


def _tile(name: str, result: Result) -> Image.Image:
    drawn = overlay(result, legend=False)
    drawn.thumbnail((_SIDE, _SIDE))
    tile = Image.new("RGB", (_SIDE, _SIDE + 2 * (_SIZE + 5)), _PAPER)
    tile.paste(drawn, ((_SIDE - drawn.width) // 2, (_SIDE - drawn.height) // 2))
    found = ", ".join(one.name for one in result if one.area) or "nothing found"
    draw = ImageDraw.Draw(tile)
    for line, (text, color) in enumerate(((printable(name), _INK), (found, _FAINT))):
        font = font_for(text, _SIZE)
        draw.text((0, _SIDE + 2 + line * (_SIZE + 5)), fit_text(text, font, _SIDE), fill=color, font=font)
    return tile
