"""Pictures, masks and stickers, from wherever they are."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from PIL import Image

from clsclip_runtime.errors import ImageError, OptionError
from clsclip_runtime.images.arrays import check_channels, of_array, refuse_foreign
from clsclip_runtime.images.checksums import notes_of
from clsclip_runtime.images.conversion import as_stored, decode, upright
from clsclip_runtime.images.decoded import DecodedImage, Source
from clsclip_runtime.images.formats import MAX_BYTES, MAX_PIXELS, check_size, damaged, opened, too_large_for_memory
from clsclip_runtime.paths import is_address, public_address

_CHUNK = 1 << 20

_T = TypeVar("_T")


def open_image(source: Source, *, max_pixels: int = MAX_PIXELS, channels: str = "rgb") -> DecodedImage:
    """Read a picture from a path, an http or https address, bytes, a binary file object, a PIL image, a uint8 array or
    a ``DecodedImage``.

    Arrays are (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha, uint8; BGR and BGRA, as OpenCV gives
    them, with ``channels="bgr"``.

    Args:
        source: the picture.
        max_pixels: refuse larger pictures before they are decoded (decompression bombs). Pillow's own limit plays no
            part.
        channels: ``rgb`` or ``bgr``, the order of an array's colors. All other sources tell it themselves.

    Raises:
        ImageError: there is no such file, it is not a complete picture, or it is too large.
        OptionError: ``channels`` is neither, or is ``bgr`` for what is no array.
    """
    check_channels(channels)
    if isinstance(source, np.ndarray):
        return of_array(source, max_pixels, channels)
    if channels != "rgb":
        raise OptionError(
            f"channels={channels!r} is for arrays, and this picture is a {type(source).__name__}, which tells its "
            "order itself. Leave channels out"
        )
    if isinstance(source, DecodedImage):
        return source
    if isinstance(source, Image.Image):
        return _of_pil(source, max_pixels)
    refuse_foreign(source)
    file_name, name, file = _encoded(source)
    with file:
        doubts = _doubts(file, name)  # Pillow closes the file
        file.seek(0)
        rgb, notes = _read(file, name, max_pixels, lambda image: decode(image, name, own=True))
    return DecodedImage(rgb, file_name, (*notes, *doubts))


def open_stored(source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a mask or a sticker: upright, its pixels as they are stored, in whatever mode; ``open_image`` for the rest.

    Raises:
        ImageError: as ``open_image``.
    """
    _, name, file = _encoded(source)
    with file:
        return _read(file, name, max_pixels, lambda image: as_stored(image, name))


def image_size(source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (width, height) of a picture as ``open_image`` gives it, without decoding: damage is not seen.

    Raises:
        ImageError: as ``open_image``.
    """
    _, name, file = _encoded(source)
    with file:
        return _read(file, name, max_pixels, lambda image: upright(image, name))


def read_all(file: IO[bytes], name: str) -> bytes:
    """Read all bytes of a picture from a pipe or a file object.

    Raises:
        ImageError: it cannot be read, is text, or does not end within ``MAX_BYTES``.
    """
    parts: list[bytes] = []
    size = 0
    try:
        while chunk := file.read(_CHUNK):
            if not isinstance(chunk, bytes):
                raise ImageError(f"{name} is a text file object. Open the picture in binary mode: open(path, 'rb')")
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_BYTES:
                raise ImageError(
                    f"{name} does not end after {MAX_BYTES >> 20:,} MiB. Is it a picture? Save it as a file, and give "
                    "its path"
                )
        return b"".join(parts)
    except MemoryError as error:
        raise too_large_for_memory(name) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read the picture from {name}: {error}") from error


def _encoded(source: Any) -> tuple[str, str, IO[bytes]]:
    """The name of a source, what to call it in messages, and its bytes."""
    if isinstance(source, str) and is_address(source):
        from clsclip_runtime.images.addresses import fetch  # modules of the network take long to import

        name = public_address(source)
        return name, name, io.BytesIO(fetch(source))
    if isinstance(source, (str, os.PathLike)):
        name = str(Path(source))
        return name, name, _open_path(Path(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        try:
            return "<bytes>", "the picture", io.BytesIO(source if isinstance(source, bytes) else bytes(source))
        except (ValueError, MemoryError) as error:
            raise ImageError(f"the picture's bytes cannot be read: {error or 'there is too little memory'}") from error
    if hasattr(source, "read"):
        given = getattr(source, "name", None)
        name = given if isinstance(given, str) else "<file>"
        return name, name, io.BytesIO(read_all(source, name))
    raise ImageError(
        f"a picture cannot be a {type(source).__name__}. Give a path, an address, bytes, a binary file object, a PIL "
        "image, or a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4)"
    )


def _open_path(path: Path) -> IO[bytes]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path} is a folder. Give a picture file")
        if not stat.S_ISREG(mode):  # a pipe would wait for ever, a device might never end
            raise ImageError(f"{path} is a pipe or a device, not a file. Send its bytes to standard input: -")
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _read(file: IO[bytes], name: str, max_pixels: int, use: Callable[[Image.Image], _T]) -> _T:
    try:
        with opened(file, name, max_pixels) as image:
            return use(image)
    except OSError as error:  # of the file itself
        raise ImageError(f"cannot read {name}: {error.strerror or error}") from error


def _doubts(file: IO[bytes], name: str) -> tuple[str, ...]:
    try:
        return notes_of(file)
    except OSError as error:  # of the file itself
        raise ImageError(f"cannot read {name}: {error.strerror or error}") from error


def _of_pil(image: Image.Image, max_pixels: int) -> DecodedImage:
    source = getattr(image, "filename", "") or "<image>"
    check_size(image.size, "the picture", max_pixels)
    try:
        rgb, notes = decode(image, "the picture", own=False)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their format's parser met
        raise damaged("the picture", error) from error
    return DecodedImage(rgb, str(source), notes)
