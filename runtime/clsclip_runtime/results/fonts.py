"""Fonts for overlays: Pillow's own, those of the system by name, and whichever file of the system has a script."""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias, TypeGuard

from PIL import ImageFont

from clsclip_runtime.paths import expanded

Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"

# Tried in this order for words that Pillow's own font cannot draw.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arialuni.ttf",
    "msgothic.ttc",
    "PingFang.ttc",
)

# Where systems keep fonts: Linux, macOS, Windows.
_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "$WINDIR/Fonts",
)
_SUFFIXES = (".ttf", ".otf", ".ttc")
_MOST_FILES = 3000
_NOT_PLAIN = ("bold", "italic", "oblique", "black", "light", "thin", "mono", "condensed", "emoji")


def font_for(text: str, size: int) -> Font:
    """The first font that has every character of ``text``, else the one that has most of them.

    Args:
        text: what is to be drawn.
        size: of letters, pixels.
    """
    fonts = _fonts(size)
    for font in fonts:
        if not is_free(font) or text.isascii() or _draws(font, text):
            return font
    if path := _file_with(text):
        return _opened(path, size)
    return max(fonts, key=lambda font: sum(_draws(font, one) for one in text) if is_free(font) else 0)


def is_free(font: Font) -> TypeGuard[ImageFont.FreeTypeFont]:
    """Whether a font can tell which characters it has."""
    return isinstance(font, ImageFont.FreeTypeFont)


@lru_cache(maxsize=1024)
def can_draw(text: str) -> bool:
    """Whether a font here has every letter of a text; fonts that cannot tell are believed."""
    if text.isascii() or any(not is_free(font) or _draws(font, text) for font in _fonts(15)):
        return True
    return _file_with(text) is not None


@lru_cache(maxsize=8)
def _fonts(size: int) -> list[Font]:
    found: list[Font] = [ImageFont.load_default(size=size)]
    for name in _FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return found


@lru_cache(maxsize=64)
def _opened(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=1024)
def _file_with(text: str) -> str | None:
    """A file of the system's fonts that has every character of a text."""
    scripts = {unicodedata.name(one, "").partition(" ")[0].lower() for one in text if not one.isspace()} - {""}
    # Fonts that are named after the script first: Noto has one for each.
    for path in sorted(_files(), key=lambda path: not any(script in Path(path).name.lower() for script in scripts)):
        try:
            if _draws(_opened(path, 15), text):
                return path
        except OSError:
            continue
    return None


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    """Files of fonts, plain ones first; folders of a system may hold thousands, so there is an end."""
    found: list[str] = []
    for folder in _FOLDERS:
        for place, _, names in os.walk(os.path.expandvars(expanded(folder))):
            found += [os.path.join(place, name) for name in names if name.lower().endswith(_SUFFIXES)]  # noqa: PTH118
    found.sort(key=lambda path: (any(word in Path(path).name.lower() for word in _NOT_PLAIN), path))
    return tuple(found[:_MOST_FILES])


def _draws(font: ImageFont.FreeTypeFont, text: str) -> bool:
    # A character that a font lacks is drawn like one that no font has.
    lacking = bytes(font.getmask("\U0010ffff"))
    return all(bytes(font.getmask(character)) != lacking for character in set(text) if not character.isspace())
