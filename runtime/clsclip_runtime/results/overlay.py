"""The overlay: a picture with its masks in colour, and a legend that lists every word asked."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from clsclip_runtime.errors import OptionError
from clsclip_runtime.options import number_in
from clsclip_runtime.results.fonts import Font, can_draw, font_for
from clsclip_runtime.results.labels import Color, draw_labels, labels_of

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; black would not show.
_OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")

_LONGEST_SIDE = (512, 1600)
"""The picture is scaled so that its longer side (pixels) is in this range: small ones must be readable."""
_MIN_WIDTH = 420
_MAX_ROWS = 64
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (150, 150, 150)


def colors(count: int) -> npt.NDArray[np.uint8]:
    """``count`` colours (count, 3) uint8: the first seven safe for colour-blind readers, all distinct up to 255."""
    found = [tuple(bytes.fromhex(code[1:])) for code in _OKABE_ITO]
    for step in range(max(0, count - len(found))):
        # Steps of the golden ratio keep neighbours in the list far apart in hue.
        rgb = colorsys.hsv_to_rgb((0.11 + step * 0.618034) % 1, (0.9, 0.55)[step % 2], (0.95, 0.75, 0.55)[step % 3])
        found.append(tuple(round(channel * 255) for channel in rgb))
    return np.asarray(found[:count], dtype=np.uint8).reshape(count, 3)


def overlay(
    result: Result,
    *,
    alpha: float = 0.5,
    palette: Sequence[Color] | None = None,
    labels: bool = True,
    legend: bool = True,
) -> Image.Image:
    """An RGB image: the picture with masks and names above, the legend below. See ``Result.overlay``.

    Where masks overlap, the strongest word fills the pixel and every word keeps its outline. A legend has at
    most 64 words, those with the largest masks first; a last line counts the others. Words that no font here can draw
    become a note of the result.
    """
    _note_undrawn(result)
    style = _Style(number_in("alpha", alpha, 0, 1), _palette(palette, len(result.classes)), labels)
    picture = _paint(result, style)
    if not legend:
        return picture
    below = _legend(result, max(picture.width, _MIN_WIDTH), _letters(picture), style.colors)
    canvas = Image.new("RGB", (below.width, picture.height + below.height), _PAPER)
    canvas.paste(picture, ((below.width - picture.width) // 2, 0))
    canvas.paste(below, (0, picture.height))
    return canvas


@dataclass(frozen=True)
class _Style:
    alpha: float
    colors: list[Color]
    labels: bool


def _palette(given: Sequence[Color] | None, count: int) -> list[Color]:
    """A color for each class; OptionError if too few were given, or one is none."""
    if given is None:
        return [(int(red), int(green), int(blue)) for red, green, blue in colors(count)]
    if len(given) < count:
        raise OptionError(f"palette must have a color for each of the {count} classes, and it has {len(given)}")
    checked = []
    for one in given[:count]:
        if len(one) != 3:
            raise OptionError(f"a color must be (red, green, blue) of 0 to 255, and it is {one!r}")
        red, green, blue = (round(number_in("a color's part", part, 0, 255)) for part in one)
        checked.append((red, green, blue))
    return checked


def _letters(picture: Image.Image) -> int:
    return 15 if max(picture.size) < 900 else 20


def _shown(result: Result) -> list[int]:
    """Positions of the words in the legend, in the order asked."""
    order = sorted(range(len(result.classes)), key=lambda at: (-result[at].area, not result.searches[at].segmented, at))
    return sorted(order[:_MAX_ROWS])


def _paint(result: Result, style: _Style) -> Image.Image:
    size = _display_size(result.size)
    pixels = np.asarray(result.image.image.resize(size, Image.Resampling.BICUBIC)).copy()
    palette = np.asarray(style.colors, np.uint8).reshape(-1, 3)
    labels = result.labels(size)
    inside = labels > 0
    pixels[inside] = pixels[inside] * (1 - style.alpha) + palette[labels[inside] - 1] * style.alpha
    shown = _shown(result)
    for at in shown:
        if result[at].area:
            pixels[_outline(result.mask_at_size(at, size))] = palette[at]
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for one in result.all_instances() if result.tracked is None else result.tracked:
        if one.whole_image and one.track_id is None:
            continue
        scale = (size[0] / result.size[0], size[1] / result.size[1])
        left, top, right, bottom = (value * scale[axis % 2] for axis, value in enumerate(one.box))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=style.colors[one.index])
    if style.labels:
        draw_labels(image, labels_of(result, shown, style.colors, size), _letters(image))
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


def _entries(result: Result, palette: list[Color]) -> list[_Entry]:
    entries = []
    for at in _shown(result):
        one = result[at]
        score = "" if one.presence is None else f"{one.presence:.2f}  "
        share = f"{one.area_percent:.1f} %" if one.status == "found" else one.status
        faint = one.status != "found"
        color = (215, 215, 215) if faint else palette[at]
        entries.append(_Entry(f"{at + 1} {result.classes[at]}", score + share, color, faint))
    return entries


def _legend(result: Result, width: int, size: int, palette: list[Color]) -> Image.Image:
    """Numbers, words, presence scores and areas in as many columns as fit; numbers are those of the label map."""
    entries = _entries(result, palette)
    line, margin, swatch = size + 8, size // 2 + 2, size
    column = min(width, max(32 * size // 2, 240))
    columns = max(1, width // column)
    column = width // columns
    rows = -(-len(entries) // columns)
    left_out = len(result.classes) - len(entries)
    foot = f"model {result.model}"
    if result.presence_threshold is not None:
        foot += f"  ·  score = presence, absent below {result.presence_threshold:.2f}"
    texts = [*([f"and {left_out} more words"] if left_out else []), foot, *([result.trust] if result.trust else [])]
    # The file travels without the result's notes, and this one says that the masks mean nothing.
    texts += [note.partition(". ")[0] for note in result.notes if note.startswith("this image is unlike")]
    lines = [line for text in texts for line in _wrapped(text, font_for(text, size - 2), width - 2 * margin)]
    image = Image.new("RGB", (width, margin * 2 + (rows + len(lines)) * line), _PAPER)
    draw = ImageDraw.Draw(image)
    for at, entry in enumerate(entries):
        x, y = margin + (at // rows) * column, margin + (at % rows) * line
        draw.rectangle((x, y + 3, x + swatch, y + 3 + swatch), fill=entry.color)
        ink = _FAINT if entry.faint else _INK
        figures_width = font_for("", size).getlength(entry.figures)
        right = (at // rows + 1) * column - margin
        draw.text((right - figures_width, y), entry.figures, fill=ink, font=font_for("", size))
        font = font_for(entry.name, size)
        start = x + swatch + margin
        draw.text((start, y), fit_text(entry.name, font, right - figures_width - margin - start), fill=ink, font=font)
    for at, text in enumerate(lines):
        font = font_for(text, size - 2)
        draw.text((margin, margin + (rows + at) * line), text, fill=_FAINT, font=font)
    return image


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    """A text in lines that fit; a word that is too long for one is cut."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(fit_text(word, font, width))
        else:
            lines[-1] = fit_text(longer, font, width)
    return lines


def fit_text(text: str, font: Font, width: float) -> str:
    """A text that is cut, with dots at its end, where it is wider than so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _note_undrawn(result: Result) -> None:
    """Note words of which no font here has all letters, once."""
    words = [result.classes[at] for at in _shown(result)]
    lacking = [word for word in words if not can_draw(word)]
    note = f"no font here has all letters of {', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}: "
    note += "the overlay shows boxes in their place. Install a font that has them, such as Noto Sans of that script"
    if lacking and note not in result.notes:
        result.notes.append(note)
