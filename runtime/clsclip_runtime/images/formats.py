"""The one door through which encoded pictures come in: which formats are read, within which bounds.

``Image.open`` is used nowhere else, nor here: its limit on pixels belongs to the whole process, it opens formats that
start other programs, and it does not say why a file of a known format was refused.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import Image

from clsclip_runtime.errors import ImageError
from clsclip_runtime.extras import install_command

MAX_PIXELS = 200_000_000
"""Usual limit on pixels: 0.8 GB as Pillow holds them."""

MAX_SIDE = 65_535
"""Limit on width and height, that of JPEG: the memory of some steps goes by a side alone."""

MAX_BYTES = 1 << 29
"""Limit on the bytes of a picture from an address, a pipe or a file object."""

_MAX_SCANS = 100
"""Limit on the scans of a JPEG, each of which costs as much time as a whole picture. Encoders make about ten."""

_MAX_EXIF_BLOCKS = 16
"""Limit on the EXIF blocks of a JPEG, which should have one."""

FORMATS = {
    "AVIF": ("avif",),
    "BMP": ("bmp",),
    "GIF": ("gif",),
    "HEIF": ("heic", "heif", "hif"),
    "ICO": ("ico",),
    "JPEG": ("jfif", "jpe", "jpeg", "jpg", "mpo"),
    "JPEG2000": ("j2k", "jp2", "jpf", "jpx"),
    "PCX": ("pcx",),
    "PNG": ("apng", "png"),
    "PPM": ("pbm", "pfm", "pgm", "pnm", "ppm"),
    "QOI": ("qoi",),
    "SGI": ("rgb", "sgi"),
    "TIFF": ("tif", "tiff"),
    "WEBP": ("webp",),
    "TGA": ("tga",),
}
"""Pillow's names of the formats that are read, and the suffixes of their files. EPS and WMF start other programs, and
others are rare and little tested. TGA has no signature and is tried last."""

SUFFIXES = frozenset(f".{suffix}" for suffixes in FORMATS.values() for suffix in suffixes)

_HEAD_BYTES = 1024
_PREFIX_BYTES = 16

_HEIF_BRANDS = frozenset((b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))

_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"8BPS", "a Photoshop document", "Save it as PNG or TIFF"),
    (0, b"%PDF", "a PDF document", "Save its page as PNG"),
    (0, b"%!PS", "PostScript", "Save it as PNG"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript", "Save it as PNG"),
    (0, b"\x93NUMPY", "a NumPy array", "Load it with numpy.load, and give the array"),
    (0, b"\xff\x0a", "a JPEG XL picture", "Save it as PNG"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture", "Save it as PNG"),
    (0, b"v/1\x01", "an OpenEXR picture", "Save it as PNG"),
    (0, b"#?R", "a Radiance picture", "Save it as PNG"),
    (0, b"SIMPLE  =", "a FITS file", "Save its picture as PNG or TIFF"),
    (0, b"DDS ", "a DirectDraw surface", "Save it as PNG"),
    (0, b"IIRO", "a camera's raw file", "Develop it, and save it as JPEG, PNG or TIFF"),
    (0, b"IIU\0", "a camera's raw file", "Develop it, and save it as JPEG, PNG or TIFF"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file", "Develop it, and save it as JPEG, PNG or TIFF"),
    (4, b"ftypcrx ", "a camera's raw file", "Develop it, and save it as JPEG, PNG or TIFF"),
    (4, b"ftyp", "a video", "Give it a video's suffix, such as .mp4"),
    (0, b"\x1a\x45\xdf\xa3", "a video", "Give it a video's suffix, such as .mkv"),
    (8, b"AVI ", "a video", "Give it a video's suffix, .avi"),
    (128, b"DICM", "a DICOM file", "Save its picture as PNG or TIFF"),
    (0, b"PK\x03\x04", "an archive", "Unpack it first"),
    (0, b"\0\x05\x16\x07", "a side file that macOS writes", "Take the file without ._ before its name"),
    (0, b"version https://git-lfs", "a pointer in place of a file", "Run: git lfs pull"),
)
"""Where a file has which bytes, what it is then, and what to do."""

_TEXTS = (
    (rb"\s*(<!--.*?-->\s*)?(<!doctype html|<html)", "a web page", "Check the address, and whether it asks for a login"),
    (rb"\s*(<\?xml.*|<!--.*)?<svg|\s*<\?xml.*<!doctype svg", "a drawing (SVG)", "Save it as PNG"),
)


@contextmanager
def opened(file: IO[bytes], name: str, max_pixels: int) -> Iterator[Image.Image]:
    """An encoded picture whose size is within the bounds and whose pixels are not decoded yet.

    Args:
        file: seekable, at its beginning.
        name: for messages.
        max_pixels: refuse more pixels.

    Raises:
        ImageError: it is no picture, of a format that is not read, or too large. What a decoder raises within the
            ``with`` block becomes one too.
    """
    head = file.read(_HEAD_BYTES)
    if not head:
        raise ImageError(f"{name} is empty (0 bytes)")
    try:
        with _identified(file, head, name) as image:
            check_size(image.size, name, max_pixels)
            if image.format == "TIFF":
                _refuse_raw(image, head, name)
            yield image
    except ImageError:
        raise
    except MemoryError as error:
        raise too_large_for_memory(name) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _over_pillows_limit(name) from error
    except Exception as error:  # decoders raise whatever their format's parser met
        raise damaged(name, error) from error


def check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """ImageError if a picture has no pixels, or more than there may be."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width}x{height})")
    if width > MAX_SIDE or height > MAX_SIDE:
        raise ImageError(
            f"{name} is {width}x{height} pixels, and a side may have {MAX_SIDE:,}. Cut it into several, or shrink it"
        )
    if width * height > max_pixels:
        raise ImageError(
            f"{name} is {width}x{height}, {width * height:,} pixels, and the limit is {max_pixels:,}. Shrink it, or "
            "raise the limit if you trust it: --max-pixels, or limits=Limits(max_pixels=...)"
        )


def too_large_for_memory(name: str) -> ImageError:
    """The error for a picture for which memory was refused."""
    return ImageError(f"{name} needs more memory than there is. Shrink it, or free memory")


def _over_pillows_limit(name: str) -> ImageError:
    """The error where a decoder asked for the limit of the whole process."""
    return ImageError(
        f"{name} has more pixels than Pillow allows to this program. To allow it, set PIL.Image.MAX_IMAGE_PIXELS = "
        "None; max_pixels still holds"
    )


def damaged(name: str, error: Exception) -> ImageError:
    """The error for a picture whose pixels cannot be decoded."""
    return ImageError(f"{name} is damaged or incomplete: {_reason(error)}. Get the file again")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _identified(file: IO[bytes], head: bytes, name: str) -> Image.Image:
    """The picture, its header read. ImageError if no format fits."""
    Image.init()
    kind = _kind_of_ftyp(head)
    if kind == "HEIF":
        _register_heif()
    if head.startswith(b"\xff\xd8"):
        _check_jpeg(file, name)
    for one in FORMATS:
        if one not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[one]
        if accept is None:
            _refuse_others(head, kind, name)
        elif not _begins(accept, head):
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise
        except Exception as error:
            if accept is not None:
                raise ImageError(
                    f"{name} is a {one} file that cannot be read: it is damaged or incomplete, or of a rare kind "
                    f"({_reason(error)}). Get the file again, or save it as PNG"
                ) from error
    raise ImageError(f"{name} is not a picture in a format that can be read (JPEG, PNG, WebP, TIFF, ...)")


def _begins(accept: Callable[[bytes], bool | str], head: bytes) -> bool:
    """Whether a file begins as its format does; a text in place of an answer says that a part of Pillow is missing."""
    try:
        answer = accept(head[:_PREFIX_BYTES])
    except IndexError:  # a few bytes
        return False
    return bool(answer) and not isinstance(answer, str)


def _refuse_others(head: bytes, kind: str | None, name: str) -> None:
    """ImageError if the file is of a format that is known and not read."""
    if kind == "HEIF":
        raise ImageError(f"{name} is a HEIC picture, and pi-heif is not installed. Run: {install_command('heic')}")
    if kind == "AVIF":
        raise ImageError(f"{name} is an AVIF picture, which this Pillow does not read. Run: {install_command('heic')}")
    for at, magic, what, cure in _OTHERS:
        if head[at : at + len(magic)] == magic:
            raise ImageError(f"{name} is {what}, which is not read. {cure}")
    for pattern, what, cure in _TEXTS:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            raise ImageError(f"{name} is {what}, which is not read. {cure}")


def _kind_of_ftyp(head: bytes) -> str | None:
    """HEIF or AVIF by the brands of an ISO container's first box."""
    if head[4:8] != b"ftyp":
        return None
    box = head[8 : min(int.from_bytes(head[:4], "big"), len(head))]
    brands = [box[at : at + 4] for at in (0, *range(8, len(box) - 3, 4))]
    if brands[0] in _AVIF_BRANDS or (brands[0] not in _HEIF_BRANDS and _AVIF_BRANDS & set(brands)):
        return "AVIF"
    if brands[0] in _HEIF_BRANDS:
        return "AVIF" if brands[0] in (b"mif1", b"msf1") and _AVIF_BRANDS & set(brands) else "HEIF"
    return None


def _register_heif() -> None:
    """Teach Pillow to read HEIC, where a package that can is installed."""
    for package in ("pi_heif", "pillow_heif"):
        if "HEIF" in Image.OPEN:
            return
        try:
            module: Any = importlib.import_module(package)
        except ImportError:
            continue
        module.register_heif_opener()


def _refuse_raw(image: Image.Image, head: bytes, name: str) -> None:
    """ImageError for cameras' raw files: they are TIFF, and what Pillow finds in them is a thumbnail."""
    tags: Any = getattr(image, "tag_v2", {})
    reduced = isinstance(subfile := tags.get(254, 0), int) and subfile & 1
    if head[8:10] == b"CR" or 50706 in tags or reduced:
        raise ImageError(
            f"{name} is a camera's raw file, of which only a small preview can be read. Develop it, and save it as "
            "JPEG, PNG or TIFF"
        )


def _check_jpeg(file: IO[bytes], name: str) -> None:
    """ImageError for a JPEG that takes very long: each scan costs a whole picture, each EXIF block all before it."""
    file.seek(0)
    data = file.read()
    # Cheap first: what only looks like them, in what is appended to the picture, is passed over below.
    if data.count(b"\xff\xda") <= _MAX_SCANS and data.count(b"Exif\0\0") <= _MAX_EXIF_BLOCKS:
        return
    scans, blocks = _segments(data)
    if scans > _MAX_SCANS or blocks > _MAX_EXIF_BLOCKS:
        what = f"{_MAX_SCANS} scans" if scans > _MAX_SCANS else f"{_MAX_EXIF_BLOCKS} EXIF blocks"
        raise ImageError(
            f"{name} is a JPEG of more than {what}, which no camera or program makes and which takes very long to "
            "read. Save it anew"
        )


def _segments(data: bytes) -> tuple[int, int]:
    """The scans and the EXIF blocks of the first picture in a JPEG file; no more than are too many."""
    at, scans, blocks = 2, 0, 0
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        code = data[at + 1]
        if code == 0xD9 or scans > _MAX_SCANS or blocks > _MAX_EXIF_BLOCKS:
            break
        if code in (0x00, 0x01, 0xFF) or 0xD0 <= code <= 0xD8:  # coded bytes, filling, restarts: no length follows
            at += 1 if code == 0xFF else 2
            continue
        scans += code == 0xDA
        blocks += code == 0xE1 and data.startswith(b"Exif\0\0", at + 4)
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return scans, blocks
