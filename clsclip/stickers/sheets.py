"""Loading sticker pictures: which folders hold them, and how an emoji becomes a file name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clsclip.errors import DataError
from clsclip.stickers.vocabulary import Noun, nouns


@dataclass(frozen=True)
class Style:
    """A family of emoji drawings.

    Attributes:
        name: short name, used on the command line.
        package: the npm package that carries the pictures.
        folder: where they are inside the unpacked package.
        suffix: file ending of its pictures.
        licence: licence of the drawings (SPDX).
    """

    name: str
    package: str
    folder: str
    suffix: str
    licence: str


STYLES = {
    style.name: style
    for style in (
        Style("noto", "emoji-datasource-google", "img/google/64", ".png", "OFL-1.1"),
        Style("twemoji", "emoji-datasource-twitter", "img/twitter/64", ".png", "CC-BY-4.0"),
        Style("fluent", "@lobehub/fluent-emoji-3d", "assets", ".webp", "MIT"),
    )
}


def emoji_file_stems(emoji: str) -> list[str]:
    """File names (without ending) that packages give to an emoji: with and without U+FE0F."""
    points = [f"{ord(character):04x}" for character in emoji]
    bare = [point for point in points if point != "fe0f"]
    return list(dict.fromkeys(["-".join(points), "-".join([*bare, "fe0f"]), "-".join(bare)]))


def load_sticker(path: Path, side: int = 128) -> Image.Image:
    """An RGBA sticker cropped to what is visible and fitted into ``side`` pixels (never enlarged)."""
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    box = picture.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0).getbbox()
    if box is None:
        raise DataError(f"{path} is fully transparent; it cannot be a sticker.")
    picture = picture.crop(box)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


class StickerBook:
    """Every sticker of some styles, in memory.

    Args:
        root: folder with one unpacked npm package a style: ``root/<package>/<folder>/<emoji>.png``.
        styles: names from :data:`STYLES`.

    Raises:
        DataError: a style's folder is absent, or none of a noun's emoji is drawn in it.
    """

    def __init__(self, root: Path, styles: Sequence[str]) -> None:
        self.styles = tuple(styles)
        self.stickers: dict[tuple[str, int], list[Image.Image]] = {}
        for name in self.styles:
            if name not in STYLES:
                raise DataError(f"No sticker style {name!r}; known: {', '.join(STYLES)}.")
            for noun in nouns():
                self.stickers[name, noun.index] = self._load(root, STYLES[name], noun)

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
            paths = [folder / (stem + style.suffix) for stem in emoji_file_stems(emoji)]
            found += [load_sticker(path) for path in paths if path.is_file()][:1]
        if not found:
            raise DataError(f"Style {style.name} draws none of {noun.name!r}'s emoji in {folder}.")
        return found
