"""The overlay: a picture with its masks in colour, and a legend that lists every word asked."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"
Color: TypeAlias = tuple[int, int, int]

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; black would not show.
_OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")

_LONGEST_SIDE = (512, 1600)
"""The picture is scaled so that its longer side (pixels) is in this range: small ones must be readable."""
_MIN_WIDTH = 420
_MAX_ROWS = 64
_FILL = 0.5
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (150, 150, 150)

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


def colors(count: int) -> npt.NDArray[np.uint8]:
    """``count`` colours (count, 3) uint8: the first seven safe for colour-blind readers, all distinct up to 255."""
    found = [tuple(bytes.fromhex(code[1:])) for code in _OKABE_ITO]
    for step in range(max(0, count - len(found))):
        # Steps of the golden ratio keep neighbours in the list far apart in hue.
        rgb = colorsys.hsv_to_rgb((0.11 + step * 0.618034) % 1, (0.9, 0.55)[step % 2], (0.95, 0.75, 0.55)[step % 3])
        found.append(tuple(round(channel * 255) for channel in rgb))
    return np.asarray(found[:count], dtype=np.uint8).reshape(count, 3)


def overlay(result: Result) -> Image.Image:
    """An RGB image: the picture with masks above, the legend below.

    Where masks overlap, the strongest word fills the pixel and every word keeps its outline. A legend has at
    most 64 words, those with the largest masks first; a last line counts the others. Words that no font here can draw
    become a note of the result.
    """
    _note_undrawn(result)
    image = _paint(result)
    size = 15 if max(image.size) < 900 else 20
    legend = _legend(result, max(image.width, _MIN_WIDTH), size)
    canvas = Image.new("RGB", (legend.width, image.height + legend.height), _PAPER)
    canvas.paste(image, ((legend.width - image.width) // 2, 0))
    canvas.paste(legend, (0, image.height))
    return canvas


def _shown(result: Result) -> list[int]:
    """Positions of the words in the legend, in the order asked."""
    order = sorted(range(len(result.classes)), key=lambda at: (-result[at].area, not result.searches[at].segmented, at))
    return sorted(order[:_MAX_ROWS])


def _paint(result: Result) -> Image.Image:
    size = _display_size(result.size)
    pixels = np.asarray(result.image.image.resize(size, Image.Resampling.BICUBIC)).copy()
    palette = colors(len(result.classes))
    labels = result.labels(size)
    inside = labels > 0
    pixels[inside] = pixels[inside] * (1 - _FILL) + palette[labels[inside] - 1] * _FILL
    for at in _shown(result):
        if result[at].area:
            pixels[_outline(result.mask_at_size(at, size))] = palette[at]
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for one in result.all_instances() if result.tracked is None else result.tracked:
        if one.whole_image and one.track_id is None:
            continue
        scale = (size[0] / result.size[0], size[1] / result.size[1])
        left, top, right, bottom = (value * scale[axis % 2] for axis, value in enumerate(one.box))
        red, green, blue = (int(channel) for channel in palette[one.index])
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=(red, green, blue))
        if one.track_id is not None:
            font = _font("", 15)
            draw.rectangle((left, top, left + font.getlength(str(one.track_id)) + 4, top + 18), fill=_PAPER)
            draw.text((left + 2, top), str(one.track_id), fill=_INK, font=font)
    return image


def _display_size(size: tuple[int, int]) -> tuple[int, int]:
    low, high = _LONGEST_SIDE
    longest = max(size)
    scale = min(max(longest, low), high) / longest
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask's pixels within two of its edge; the picture's own border is no edge."""
    inner = mask
    for _ in range(2):
        wide = np.pad(inner, 1, mode="edge")
        inner = inner & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


@dataclass(frozen=True)
class _Entry:
    name: str
    figures: str
    color: Color
    faint: bool


def _entries(result: Result) -> list[_Entry]:
    palette = colors(len(result.classes))
    entries = []
    for at in _shown(result):
        one = result[at]
        score = "" if one.presence is None else f"{one.presence:.2f}  "
        share = f"{one.area_percent:.1f} %" if one.status == "found" else one.status
        red, green, blue = (int(channel) for channel in palette[at])
        faint = one.status != "found"
        color = (215, 215, 215) if faint else (red, green, blue)
        entries.append(_Entry(f"{at + 1} {result.classes[at]}", score + share, color, faint))
    return entries


def _legend(result: Result, width: int, size: int) -> Image.Image:
    """Numbers, words, presence scores and areas in as many columns as fit; numbers are those of the label map."""
    entries = _entries(result)
    line, margin, swatch = size + 8, size // 2 + 2, size
    column = min(width, max(32 * size // 2, 240))
    columns = max(1, width // column)
    column = width // columns
    rows = -(-len(entries) // columns)
    left_out = len(result.classes) - len(entries)
    foot = f"model {result.model}"
    if result.presence_threshold is not None:
        foot += f"  ·  score = presence, absent below {result.presence_threshold:.2f}"
    lines = [foot] if not left_out else [f"and {left_out} more words", foot]
    lines += [result.trust] if result.trust else []
    image = Image.new("RGB", (width, margin * 2 + (rows + len(lines)) * line), _PAPER)
    draw = ImageDraw.Draw(image)
    for at, entry in enumerate(entries):
        x, y = margin + (at // rows) * column, margin + (at % rows) * line
        draw.rectangle((x, y + 3, x + swatch, y + 3 + swatch), fill=entry.color)
        ink = _FAINT if entry.faint else _INK
        figures_width = _font("", size).getlength(entry.figures)
        right = (at // rows + 1) * column - margin
        draw.text((right - figures_width, y), entry.figures, fill=ink, font=_font("", size))
        font = _font(entry.name, size)
        start = x + swatch + margin
        draw.text((start, y), _fit(entry.name, font, right - figures_width - margin - start), fill=ink, font=font)
    for at, text in enumerate(lines):
        font = _font(text, size - 2)
        draw.text((margin, margin + (rows + at) * line), _fit(text, font, width - 2 * margin), fill=_FAINT, font=font)
    return image


def _fit(text: str, font: Font, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _font(text: str, size: int) -> Font:
    """The first font that has every character of ``text``, else the one that has most of them."""
    fonts = _fonts(size)
    for font in fonts:
        if not isinstance(font, ImageFont.FreeTypeFont) or text.isascii() or _draws(font, text):
            return font
    return max(fonts, key=lambda font: sum(_draws(font, one) for one in text) if _is_free(font) else 0)


def _is_free(font: Font) -> TypeGuard[ImageFont.FreeTypeFont]:
    return isinstance(font, ImageFont.FreeTypeFont)


def _note_undrawn(result: Result) -> None:
    """Note words of which no font here has all letters, once."""
    words = [result.classes[at] for at in _shown(result)]
    lacking = [word for word in words if not word.isascii() and not _drawn(word)]
    note = f"no font here has all letters of {', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}: "
    note += "the overlay shows boxes in their place. Install a font that has them, such as Noto Sans of that script"
    if lacking and note not in result.notes:
        result.notes.append(note)


@lru_cache(maxsize=1024)
def _drawn(text: str) -> bool:
    """Whether a font here has every letter of a text; fonts that cannot tell are believed."""
    return any(not _is_free(font) or _draws(font, text) for font in _fonts(15))


@lru_cache(maxsize=4)
def _fonts(size: int) -> list[Font]:
    found: list[Font] = [ImageFont.load_default(size=size)]
    for name in _FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return found


def _draws(font: ImageFont.FreeTypeFont, text: str) -> bool:
    # A character that a font lacks is drawn like one that no font has.
    lacking = bytes(font.getmask("\U0010ffff"))
    return all(bytes(font.getmask(character)) != lacking for character in set(text) if not character.isspace())
