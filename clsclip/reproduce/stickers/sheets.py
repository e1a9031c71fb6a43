"""Loading sticker pictures: which folders hold them, and how an emoji becomes a file name."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from clsclip.errors import DataError
from clsclip.reproduce.stickers.vocabulary import Noun, nouns


@dataclass(frozen=True)
class Style:
    """A family of emoji drawings.

    Attributes:
        name: short name, used on the command line.
        package: the npm package that carries the pictures.
        folder: where they are inside the unpacked package.
        suffix: file ending of its pictures.
        licence: licence of the drawings (SPDX).
        capitals: its files are named in capitals.
    """

    name: str
    package: str
    folder: str
    suffix: str
    licence: str
    capitals: bool = False


STYLES = {
    style.name: style
    for style in (
        Style("noto", "emoji-datasource-google", "img/google/64", ".png", "OFL-1.1"),
        Style("twemoji", "emoji-datasource-twitter", "img/twitter/64", ".png", "CC-BY-4.0"),
        Style("fluent", "@lobehub/fluent-emoji-3d", "assets", ".webp", "MIT"),
        Style("flat", "@lobehub/fluent-emoji-flat", "assets", ".svg", "MIT"),
        Style("openmoji", "openmoji", "color/svg", ".svg", "CC-BY-SA-4.0", capitals=True),
    )
}


def emoji_file_stems(emoji: str) -> list[str]:
    """File names (without ending) that packages give to an emoji: with and without U+FE0F."""
    points = [f"{ord(character):04x}" for character in emoji]
    bare = [point for point in points if point != "fe0f"]
    return list(dict.fromkeys(["-".join(points), "-".join([*bare, "fe0f"]), "-".join(bare)]))


def load_sticker(path: Path, side: int = 128) -> Image.Image:
    """An RGBA sticker cropped to what is visible and fitted into ``side`` pixels (never enlarged)."""
    with Image.open(_drawn(path, side) if path.suffix == ".svg" else path) as opened:
        picture = opened.convert("RGBA")
    box = picture.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0).getbbox()
    if box is None:
        raise DataError(f"{path} is fully transparent; it cannot be a sticker.")
    picture = picture.crop(box)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _drawn(path: Path, side: int) -> io.BytesIO:
    """An SVG file as a PNG, ``side`` pixels wide."""
    try:
        resvg: Any = import_module("resvg_py")
    except ImportError as error:
        raise DataError(
            f"{path} is an SVG drawing, and resvg_py cannot be imported. Run: pip install resvg-py"
        ) from error
    try:
        return io.BytesIO(resvg.svg_to_bytes(svg_path=str(path), width=side, skip_system_fonts=True))
    except ValueError as error:
        raise DataError(f"{path} is no SVG drawing that can be rendered: {error}.") from error


class StickerBook:
    """Every sticker of some styles, in memory.

    Args:
        root: folder with one unpacked npm package a style: ``root/<package>/<folder>/<emoji>.png``.
        styles: names from :data:`STYLES`.

    A noun that one of several styles does not draw is shown in another of them.

    Raises:
        DataError: a style's folder is absent, or no style draws a noun.
    """

    def __init__(self, root: Path, styles: Sequence[str]) -> None:
        self.styles = tuple(styles)
        self.stickers: dict[tuple[str, int], list[Image.Image]] = {}
        for name in self.styles:
            if name not in STYLES:
                raise DataError(f"No sticker style {name!r}; known: {', '.join(STYLES)}.")
            for noun in nouns():
                self.stickers[name, noun.index] = self._load(root, STYLES[name], noun)
        for (name, noun_index), found in self.stickers.items():
            if not found:
                others = (self.stickers[other, noun_index] for other in self.styles)
                self.stickers[name, noun_index] = next((other for other in others if other), [])
                if not self.stickers[name, noun_index]:
                    raise DataError(f"Style {name} draws none of {nouns()[noun_index].name!r}'s emoji.")

    @staticmethod
    def _load(root: Path, style: Style, noun: Noun) -> list[Image.Image]:
        folder = root / style.package / style.folder
        if not folder.is_dir():
            raise DataError(
                f"No stickers of style {style.name} at {folder}. "
                f"Run: npm install --prefix {root.parent} {style.package}"
            )
        found = []
        for emoji in noun.emoji:
            stems = [stem.upper() if style.capitals else stem for stem in emoji_file_stems(emoji)]
            paths = [folder / (stem + style.suffix) for stem in stems]
            found += [load_sticker(path) for path in paths if path.is_file()][:1]
        return found
