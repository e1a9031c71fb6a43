"""Loading sticker pictures: which folders hold them, and how an emoji becomes a file name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from clsclip.errors import DataError
from clsclip.reproduce.stickers.layers import Pyramid
from clsclip.reproduce.stickers.vocabulary import Noun, nouns
from clsclip_runtime.documents import read_json
from clsclip_runtime.errors import ImageError
from clsclip_runtime.images import open_stored
from clsclip_runtime.paths import is_dir, is_file


@dataclass(frozen=True)
class Style:
    """A family of emoji drawings.

    Attributes:
        name: short name, used on the command line.
        package: the npm package that carries the pictures.
        folder: where they are inside the unpacked package.
        suffix: file ending of its pictures.
        license: license of the drawings (SPDX).
        capitals: its files are named in capitals.
        named: its drawings are in one JSON file, ``folder``, by the emoji's names instead of their code points.
    """

    name: str
    package: str
    folder: str
    suffix: str
    license: str
    capitals: bool = False
    named: bool = False


STYLES = {
    style.name: style
    for style in (
        Style("noto", "emoji-datasource-google", "img/google/64", ".png", "OFL-1.1"),
        Style("twemoji", "emoji-datasource-twitter", "img/twitter/64", ".png", "CC-BY-4.0"),
        Style("fluent", "@lobehub/fluent-emoji-3d", "assets", ".webp", "MIT"),
        Style("flat", "@lobehub/fluent-emoji-flat", "assets", ".svg", "MIT"),
        Style("openmoji", "openmoji", "color/svg", ".svg", "CC-BY-SA-4.0", capitals=True),
        Style("blobs", "@iconify-json/noto-v1", "icons.json", ".svg", "Apache-2.0", named=True),
        Style("emojione", "@iconify-json/emojione", "icons.json", ".svg", "CC-BY-4.0", named=True),
    )
}


def emoji_file_stems(emoji: str) -> list[str]:
    """File names (without ending) that packages give to an emoji: with and without U+FE0F."""
    points = [f"{ord(character):04x}" for character in emoji]
    bare = [point for point in points if point != "fe0f"]
    return list(dict.fromkeys(["-".join(points), "-".join([*bare, "fe0f"]), "-".join(bare)]))


def load_sticker(path: Path, side: int = 128) -> Image.Image:
    """An RGBA sticker cropped to what is visible and fitted into ``side`` pixels (never enlarged)."""
    if path.suffix == ".svg":
        return fitted(drawn(path.read_text("utf-8"), path, side), path, side)
    return fitted(read_sticker(path), path, side)


def read_sticker(source: Path | bytes) -> Image.Image:
    """A picture with its transparency. DataError when it cannot be read."""
    try:
        return open_stored(source)
    except ImageError as error:
        raise DataError(f"{error}.") from error


def fitted(image: Image.Image, path: Path, side: int) -> Image.Image:
    """The picture as RGBA, cropped to what is visible and fitted into ``side`` pixels; ``path`` is for errors."""
    image = image.convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0).getbbox()
    if box is None:
        raise DataError(f"{path} is fully transparent; it cannot be a sticker.")
    image = image.crop(box)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def drawn(drawing: str, path: Path, side: int) -> Image.Image:
    """The text of an SVG file as a picture ``side`` pixels wide; ``path`` is for errors."""
    try:
        resvg: Any = import_module("resvg_py")
    except ImportError as error:
        raise DataError(
            f"{path} is an SVG drawing, and resvg_py cannot be imported. Run: pip install resvg-py"
        ) from error
    try:
        png = bytes(resvg.svg_to_bytes(svg_string=drawing, width=side, skip_system_fonts=True))
    except ValueError as error:
        raise DataError(f"{path} is no SVG drawing that can be rendered: {error}.") from error
    return read_sticker(png)


@lru_cache(maxsize=4)
def icon_set(path: Path) -> dict[str, str]:
    """SVG drawings of a JSON icon set by their names, aliases included.

    Raises:
        DataError: the file is no icon set.
    """
    try:
        document = read_json(path)
        size = {"width": document.get("width", 16), "height": document.get("height", 16)}
        drawings = {name: _icon(size | icon) for name, icon in document["icons"].items()}
        aliases = {name: one["parent"] for name, one in document.get("aliases", {}).items()}
        return drawings | {name: drawings[parent] for name, parent in aliases.items() if parent in drawings}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no icon set that can be read: {error!r}. Install its package again.") from error


def _icon(icon: dict[str, Any]) -> str:
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {icon['width']} {icon['height']}"
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {space} viewBox="{box}">{icon["body"]}</svg>'


def icon_name(emoji: str) -> str:
    """The name that icon sets give to an emoji: that of Unicode's CLDR, ``"hot-air-balloon"``."""
    try:
        names: Any = import_module("emoji")
    except ImportError as error:
        raise DataError(
            "Icon sets name emoji, and the package emoji cannot be imported. Run: pip install emoji"
        ) from error
    name = names.demojize(emoji).strip(":").lower()
    return "".join("-" if one in "_ " else one for one in name if one.isalnum() or one in "-_ ")


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
        self._pyramids: dict[tuple[str, int], list[Pyramid]] = {}
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

    def pyramids(self, style: str, noun: int) -> list[Pyramid]:
        """A noun's stickers in a style, at many sizes; made when first asked for."""
        if (style, noun) not in self._pyramids:
            self._pyramids[style, noun] = [Pyramid(sticker) for sticker in self.stickers[style, noun]]
        return self._pyramids[style, noun]

    @staticmethod
    def _load(root: Path, style: Style, noun: Noun) -> list[Image.Image]:
        folder = root / style.package / style.folder
        if not (is_file(folder) if style.named else is_dir(folder)):
            raise DataError(
                f"No stickers of style {style.name} at {folder}. "
                f"Run: npm install --prefix {root.parent} {style.package}"
            )
        if style.named:
            icons = icon_set(folder)
            names = [name for name in map(icon_name, noun.emoji) if name in icons]
            return [fitted(drawn(icons[name], folder, 128), folder, 128) for name in names]
        found = []
        for emoji in noun.emoji:
            stems = [stem.upper() if style.capitals else stem for stem in emoji_file_stems(emoji)]
            paths = [folder / (stem + style.suffix) for stem in stems]
            found += [load_sticker(path) for path in paths if is_file(path)][:1]
        return found
