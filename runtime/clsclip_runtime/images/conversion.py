"""From what a decoder gives to upright 8-bit RGB, with a note wherever something was left out or assumed.

EXIF orientation is applied; transparency is laid on white; of several frames or pages the first is taken; deep gray is
scaled as ``_GrayScale`` says; color profiles are ignored, as CLIP's own preprocessing does. Whatever needs more memory
than the picture itself works on a band of rows at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from clsclip_runtime.errors import ImageError
from clsclip_runtime.images.formats import too_large_for_memory

_log = logging.getLogger(__name__)

_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture of an EXIF orientation is turned upright. Pillow's ``exif_transpose`` also writes the EXIF block anew,
and fails where that cannot be written."""

_SIDEWAYS = (
    *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
    *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
)

_BAND_PIXELS = 1 << 22

_GRAY_DEPTHS = {"L;2": 2, "L;4": 4}
"""Pillow's raw modes of gray below 8 bits, and their bits."""

_TIFF_BEGINNINGS = (b"MM\0*", b"II*\0", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")

_USUAL_GAMMA = 1 / 2.2

_BITS, _PHOTOMETRIC, _SAMPLES, _SAMPLE_FORMAT = 258, 262, 277, 339
"""Tags of TIFF."""

_FRAMES = {
    "TIFF": "it has several pages, of which the first alone was read",
    "MPO": "it holds several pictures, of which the first alone was read",
    "HEIF": "it holds several pictures, of which the main one alone was read",
}
_CLEAR = "its transparent parts were taken for white"
_ANIMATION = "it is an animation, of which the first frame alone was read"


def decode(image: Image.Image, name: str, *, own: bool) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode a picture.

    Args:
        image: opened.
        name: for messages.
        own: nobody else holds ``image``, so that its pixels need not be copied where they are RGB already.

    Returns:
        Upright RGB, and notes.

    Raises:
        ImageError: its pixels cannot be made RGB, or memory was refused. Whatever a decoder raises passes through.
    """
    notes: dict[str, None] = {}
    try:
        upright = stored(image, name, notes)
        if own and upright is not image:
            image.close()  # its memory is needed
        rgb = to_rgb(upright, name, notes, own=own)
        if rgb is image:
            # Pillow's object holds its decoder and its file as well; a copy would need the memory twice.
            rgb = image._new(image.im) if own else image.copy()
    except MemoryError as error:
        raise too_large_for_memory(name) from error
    return rgb, tuple(notes)


_STEPS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies the gray values of PNG files by, by its names of their forms."""


def stored(image: Image.Image, name: str, notes: dict[str, None]) -> Image.Image:
    """A picture upright, its pixels as they are stored; adds notes. Whatever a decoder raises passes through."""
    tile = getattr(image, "tile", None)
    raw_mode = tile[0][3] if tile else None
    image.load()
    _note_what_is_left_out(image, notes)
    if image.format == "PNG":
        _scale_transparency(image, raw_mode)
    turn = _turn(image, name, notes)
    return image if turn is None else image.transpose(turn)


def as_stored(image: Image.Image, name: str) -> Image.Image:
    """A mask or a sticker upright: the first frame, with ``info["frames"]``, and the gray values of a PNG file.

    Pillow spreads those of 2 and 4 bits over 8.
    """
    frames = getattr(image, "n_frames", 1) if image.format in ("GIF", "PNG") else 1
    tile = getattr(image, "tile", None)
    step = _STEPS.get(tile[0][3]) if tile and image.format == "PNG" else None
    found = stored(image, name, {})
    if step is not None:
        found = found.point([value // step for value in range(256)])
    if frames > 1:
        found = found.copy()  # without its file, which would be asked for the next
        found.info["frames"] = frames
    return found


def upright(image: Image.Image, name: str) -> tuple[int, int]:
    """(width, height) that ``stored`` will give, from what is known before the pixels are decoded."""
    width, height = image.size
    return (height, width) if _turn(image, name, {}) in _SIDEWAYS else (width, height)


def _turn(image: Image.Image, name: str, notes: dict[str, None]) -> Image.Transpose | None:
    """How a picture is turned upright; adds a note where that is not known."""
    try:
        _check_exif(image.info.get("exif"))
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # the pixels are good even where the EXIF block is not
        _log.warning("%s: its EXIF data cannot be read (%s); orientation ignored", name, error)
        notes["its EXIF data cannot be read, so its orientation was ignored"] = None
        return None


def _check_exif(block: object) -> None:
    """ValueError if an EXIF block is none: Pillow tells it to the first who asks, and some formats ask themselves."""
    if isinstance(block, bytes) and block and not block.removeprefix(b"Exif\0\0").startswith(_TIFF_BEGINNINGS):
        raise ValueError("it does not begin as EXIF does")


def _note_what_is_left_out(image: Image.Image, notes: dict[str, None]) -> None:
    info, tags = image.info, _tags(image)
    if getattr(image, "is_animated", False):
        notes[_FRAMES.get(image.format or "", _ANIMATION)] = None
    if image.format == "ICO" and len(info.get("sizes", ())) > 1:
        notes["it holds several sizes, of which the largest alone was read"] = None
    samples, bands = tags.get(_SAMPLES, 1), len(image.getbands())
    if isinstance(samples, int) and samples > bands and image.mode != "P":
        notes[f"it has {samples} channels, of which {bands} were read"] = None
    profile = info.get("icc_profile")
    if profile and not _is_srgb(profile):
        notes["its color profile was ignored"] = None
    gamma = info.get("gamma")
    if gamma and not profile and "srgb" not in info and abs(gamma - _USUAL_GAMMA) > 0.01:
        notes[f"its gamma of {gamma:.3f} was ignored"] = None


def _tags(image: Image.Image) -> Any:
    """The tags of a TIFF file; nothing for other formats."""
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def _is_srgb(profile: bytes) -> bool:
    return b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile


def _scale_transparency(image: Image.Image, raw_mode: Any) -> None:
    """Make the transparent color of a PNG what Pillow compares it with, which is what it scaled its pixels to."""
    color = image.info.get("transparency")
    if raw_mode in _GRAY_DEPTHS and isinstance(color, int):
        image.info["transparency"] = color * 255 // ((1 << _GRAY_DEPTHS[raw_mode]) - 1)
    elif raw_mode == "RGB;16B" and isinstance(color, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in color)


def to_rgb(image: Image.Image, name: str, notes: dict[str, None], *, own: bool) -> Image.Image:
    """A picture as RGB, itself where it is that already; adds notes. ImageError if its pixels cannot be made RGB.

    With ``own``, ``image`` may be closed when it is no longer needed.
    """
    try:
        if image.mode not in _DEEP_MODES:
            return _to_rgb(image, notes)
        gray = _banded(image, "L", _GrayScale.measured(image, notes))
        if own:
            image.close()  # deep gray takes as much memory as RGB
        return gray.convert("RGB")
    except (ValueError, TypeError) as error:
        raise ImageError(
            f"{name} has pixels of mode {image.mode}, which cannot be made RGB ({error}). Save it as PNG"
        ) from error


def _to_rgb(image: Image.Image, notes: dict[str, None]) -> Image.Image:
    convert: Callable[[Image.Image], Image.Image]
    if image.mode == "LAB":
        convert = _from_lab()
    elif image.has_transparency_data:
        convert = _OnWhite(notes)
    elif image.mode == "RGB":
        return image
    else:
        convert = _converted
    return _banded(image, "RGB", convert)


def _banded(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What ``convert`` makes of a picture, of ``mode``, band by band."""
    if _BAND_PIXELS // image.width >= image.height:
        return convert(image)
    made = Image.new(mode, image.size)
    for top, part in _bands(image):
        made.paste(convert(part), (0, top))
    return made


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture in bands of rows, each with its first row."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(height, top + rows)))


def _converted(part: Image.Image) -> Image.Image:
    return part.convert("RGB")


def _from_lab() -> Callable[[Image.Image], Image.Image]:
    from PIL import ImageCms  # few pictures need it

    change = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")

    def convert(part: Image.Image) -> Image.Image:
        try:
            made = ImageCms.applyTransform(part, change)
        except ImageCms.PyCMSError as error:
            raise ValueError(str(error)) from error
        if made is None:
            raise ValueError("LAB was not converted")
        return made

    return convert


class _OnWhite:
    """Lays transparency on white."""

    def __init__(self, notes: dict[str, None]) -> None:
        self._notes = notes

    def __call__(self, part: Image.Image) -> Image.Image:
        colored = (part.convert("LA") if part.mode == "La" else part).convert("RGBA")
        if np.asarray(colored.getchannel("A")).min() < 255:
            self._notes[_CLEAR] = None
        white = Image.new("RGBA", colored.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colored).convert("RGB")


@dataclass(frozen=True)
class _GrayScale:
    """Deep gray to 8 bits: 0 to ``full`` becomes 0 to 255.

    16 bits: 0 to 65535. 12 bits: 0 to 4095. 32 bits: 0 to 65535, or to the maximum if that is larger. Float: 0 to 1; to
    255 if the maximum is above 1; to the maximum if that is above 255. Never negative; what is no number is 0.
    """

    full: float
    inverted: bool
    unsigned: bool
    transparent: int | None

    @classmethod
    def measured(cls, image: Image.Image, notes: dict[str, None]) -> _GrayScale:
        """Look at all pixels once."""
        tags = _tags(image)
        bits, kind = tags.get(_BITS, (0,)), tags.get(_SAMPLE_FORMAT, (1,))
        deep = image.mode.startswith("I;16")
        usual = 4095.0 if bits == (12,) else 65535.0 if image.mode != "F" else 1.0
        unsigned = image.mode == "I" and bits == (32,) and kind in ((1,), 1)
        transparent = image.info.get("transparency") if deep else None
        scale = cls(usual, tags.get(_PHOTOMETRIC) == 0, unsigned, transparent)
        low, high, odd, clear = 0.0, 0.0, False, False
        for _, part in _bands(image):
            values = scale.values(part)
            clear = clear or (transparent is not None and bool((values == transparent).any()))
            if image.mode == "F":
                finite = np.isfinite(values)
                odd = odd or not finite.all()
                values = values[finite]
            low, high = min(low, float(values.min(initial=0))), max(high, float(values.max(initial=0)))
        if image.mode == "F":
            usual = 1.0 if high <= 1 else 255.0
        full = max(usual, high)
        if image.mode == "F" or full > usual:
            notes[f"its values are no usual 8 or 16 bits: 0 to {full:g} was taken for black to white"] = None
        elif deep and usual == 65535 and 0 < high < 4096:
            notes[
                f"its 16-bit values end at {high:g} of 65535, so that it is nearly black. Scale it if it should not be"
            ] = None
        if clear:
            notes[_CLEAR] = None
        if low < 0:
            notes["its negative values were taken for black"] = None
        if odd:
            notes["its values that are no numbers were taken for black"] = None
        return cls(full, scale.inverted, unsigned, transparent)

    def values(self, part: Image.Image) -> npt.NDArray[Any]:
        """The values as they are meant."""
        values = np.asarray(part)
        return values.view(np.uint32) if self.unsigned else values

    def __call__(self, part: Image.Image) -> Image.Image:
        values = self.values(part)
        made = self._bytes(np.arange(1 << 16))[values] if values.dtype.itemsize == 2 else self._bytes(values)
        if self.transparent is not None:
            made[values == self.transparent] = 255
        return Image.fromarray(made)

    def _bytes(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        gray = values.astype(np.float64)
        gray[~np.isfinite(gray)] = 0
        gray /= self.full
        np.clip(gray, 0, 1, out=gray)
        gray *= 255
        np.rint(gray, out=gray)
        return (255 - gray if self.inverted else gray).astype(np.uint8)
