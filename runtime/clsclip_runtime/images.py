"""Pictures: anything a user has, made upright 8-bit RGB, then the encoder's input.

Conversions: EXIF orientation is applied; transparency is laid on white; of an animation the first frame is
taken; 16-bit grey is scaled by 65535; wider integers and floats as ``_stretch`` says; colour profiles are
ignored, as CLIP's own preprocessing does.
"""

from __future__ import annotations

import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from clsclip_runtime.errors import ImageError
from clsclip_runtime.paths import is_dir

if TYPE_CHECKING:
    from clsclip_runtime.bundle.specs import ImageSpec

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[np.uint8]"
    " | DecodedImage"
)

MAX_PIXELS = 200_000_000

# Not every decoder that Pillow has: EPS and WMF start other programs or depend on the system.
_FORMATS = (
    *("AVIF", "BMP", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)

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

_NOTE = "clsclip_note"
"""Where in Pillow's ``info`` a note about the picture is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An upright 8-bit RGB image and the name of where it came from.

    ``open_image`` makes one in any thread; a segmenter takes it as a source and decodes nothing.

    Attributes:
        image: upright, mode RGB.
        source: its path, or a name such as ``<array>``.
    """

    image: Image.Image
    source: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        width, height = self.image.size
        return width, height

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about what could not be read."""
        note = self.image.info.get(_NOTE)
        return () if note is None else (note,)


def open_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Read a picture from a path, bytes, a binary file object, a PIL image, a uint8 array or a ``DecodedImage``.

    Arrays are (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha, uint8.

    Args:
        source: the picture.
        max_pixels: refuse larger pictures before they are decoded (decompression bombs). Pillow's own limit,
            twice ``PIL.Image.MAX_IMAGE_PIXELS``, holds as well.

    Raises:
        ImageError: there is no such file, it is not a complete picture, or it is too large.
    """
    if isinstance(source, DecodedImage):
        return source
    if isinstance(source, Image.Image):
        return DecodedImage(
            _decode(source, "the picture", max_pixels, own=False), getattr(source, "filename", "") or "<image>"
        )
    if isinstance(source, np.ndarray):
        return DecodedImage(_from_array(source), "<array>")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return DecodedImage(_open(io.BytesIO(source), "the picture", max_pixels), "<bytes>")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return DecodedImage(_open_path(path, max_pixels), str(path))
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        name = name if isinstance(name, str) else "<file>"
        try:
            data = source.read()
        except (OSError, ValueError) as error:
            raise ImageError(f"cannot read the picture from {name}: {error}") from error
        if not isinstance(data, bytes):
            raise ImageError(f"{name} is a text file object. Open the picture in binary mode: open(path, 'rb')")
        return DecodedImage(_open(io.BytesIO(data), name, max_pixels), name)
    raise ImageError(
        f"a picture cannot be a {type(source).__name__}. Give a path, bytes, a binary file object, a PIL image, "
        "or a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4)"
    )


def preprocess(image: Image.Image, spec: ImageSpec) -> npt.NDArray[np.float32]:
    """The encoder's input (3, S, S) float32 for an RGB picture: resized as 8-bit, scaled to 0..1, normalised."""
    resampling = Image.Resampling[spec.interpolation.upper()]
    small = image.resize((spec.size, spec.size), resampling)
    pixels = np.asarray(small, dtype=np.float32) / np.float32(255)
    mean, std = np.asarray(spec.mean, dtype=np.float32), np.asarray(spec.std, dtype=np.float32)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1), dtype=np.float32)


def _open_path(path: Path, max_pixels: int) -> Image.Image:
    try:
        if is_dir(path):
            raise ImageError(f"{path} is a folder. Give a picture file")
        with path.open("rb") as file:
            return _open(file, str(path), max_pixels)
    except FileNotFoundError as error:
        raise ImageError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _open(file: IO[bytes], name: str, max_pixels: int) -> Image.Image:
    if not file.read(1):
        raise ImageError(f"{name} is empty (0 bytes)")
    file.seek(0)
    Image.init()
    try:
        with Image.open(file, formats=[one for one in _FORMATS if one in Image.OPEN]) as image:
            return _decode(image, name, max_pixels, own=True)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture in a format that can be read (JPEG, PNG, WebP, TIFF, ...)"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} is too large: {error} To allow it, raise PIL.Image.MAX_IMAGE_PIXELS and max_pixels"
        ) from error
    except Exception as error:
        raise _damaged(name, error) from error


def _decode(image: Image.Image, name: str, max_pixels: int, *, own: bool) -> Image.Image:
    """Upright RGB. ``own``: nobody else holds ``image``, so that it need not be copied where it is that already."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width}x{height})")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} is {width}x{height}, {width * height:,} pixels, and the limit is {max_pixels:,}. "
            "Shrink it, or raise max_pixels if you trust it"
        )
    # Decoders raise whatever their format's parser met (OSError, SyntaxError, struct.error, KeyError, ...).
    try:
        image.load()
    except Exception as error:
        raise _damaged(name, error) from error
    note = None
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # the pixels are good even where the EXIF block is not
        _log.warning("%s: its EXIF data cannot be read (%s); orientation ignored", name, error)
        turn, note = None, "its EXIF data cannot be read, so its orientation was ignored"
    try:
        upright = image if turn is None else image.transpose(turn)
        rgb = _to_rgb(upright)
        # Pixels are copied unless nobody else holds them; other formats' objects hold their decoders and files as well.
        if rgb is image and not (own and image.format == "JPEG"):
            rgb = image.copy()
        if note is not None:
            rgb.info[_NOTE] = note
        return rgb
    except Exception as error:
        raise ImageError(f"{name} has pixels of mode {image.mode}, which cannot be made RGB ({error})") from error


def _damaged(name: str, error: Exception) -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name} is damaged or incomplete: {reason}. Get the file again")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        return Image.fromarray(_stretch(np.asarray(image), image.mode)).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _stretch(values: npt.NDArray[np.generic], mode: str) -> npt.NDArray[np.uint8]:
    """Deep grey to 8 bits. 16-bit: 0..65535; 32-bit: the same, or 0..maximum if that is larger; float: 0..1,
    else 0..255 if the maximum is above 1, else 0..maximum if that is above 255. Never negative; NaN is 0."""
    grey = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(grey.max(initial=0.0))
    usual = 65535.0 if mode != "F" else 1.0 if top <= 1 else 255.0
    full = max(usual, top)
    return np.rint(np.clip(grey / full, 0, 1) * 255).astype(np.uint8)


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    shape_known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_known or array.size == 0:
        raise ImageError(
            f"an array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), none of them 0, and this is "
            f"{array.dtype} of shape {array.shape}. For floats in 0..1: (array * 255).round().astype('uint8')"
        )
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))
