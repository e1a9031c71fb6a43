"""Concatenated pictures, such as ``ffmpeg -f image2pipe`` writes, taken apart.

JPEG, PNG and binary PPM and PGM say where they end, so no separator is needed and the picture's own bytes are
never mistaken for the beginning of another (thumbnails inside EXIF, for instance).

FFmpeg reads such pipes too, and PyAV through it. But it gives a picture only when the next one comes, takes one kind in
a pipe, passes over garbage in silence, and stops at thumbnails; so these few lines stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from clsclip_runtime.errors import VideoError

CHUNK_BYTES = 1 << 16
_MOST_BYTES = 1 << 28
"""A picture that is still not at its end after this is refused: the stream is something else."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_NETPBM = re.compile(rb"P[56]")
# Magic, then width, height and maximum, separated by white space and comments, then one white space.
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NETPBM_HEADER = re.compile(rb"P([56])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s")
_NETPBM_HEADER_BYTES = 4096

_SOS, _EOI = 0xDA, 0xD9
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""JPEG markers without a length: TEM, RST0 to RST7, SOI."""


def split_images(read: Callable[[int], bytes | None], name: str) -> Iterator[bytes]:
    """The pictures of a stream of bytes, each as soon as it is complete; however the bytes are cut into chunks.

    Args:
        read: gives at most as many bytes as it is asked for, and none at the end.
        name: what to call the stream in errors.

    Raises:
        VideoError: the stream goes on with something else than a JPEG, PNG, PPM or PGM picture, or ends within one;
            the pictures before that have been given.
    """
    window = _Window(read, name)
    while window.has(1):
        yield window.take(_length(window))


class _Window:
    """The part of the stream that has been read and not yet taken."""

    def __init__(self, read: Callable[[int], bytes | None], name: str) -> None:
        self._read = read
        self._taken = 0
        self.name = name
        self.bytes = bytearray()
        self.images = 0

    def has(self, count: int) -> bool:
        """Whether there are ``count`` bytes; reads until there are, or the stream ends."""
        while len(self.bytes) < count:
            if count > _MOST_BYTES:
                raise VideoError(f"{self._where()} is larger than {_MOST_BYTES >> 20} MiB. Is the stream damaged?")
            chunk = self._read(CHUNK_BYTES)
            if not chunk:
                return False
            self.bytes += chunk
        return True

    def need(self, count: int) -> None:
        if not self.has(count):
            raise VideoError(
                f"{self.name} ends within picture {self.images + 1}, after {self._taken + len(self.bytes):,} bytes. "
                "The pictures before it were segmented. Check that its sender ended normally"
            )

    def take(self, count: int) -> bytes:
        self.need(count)
        image = bytes(self.bytes[:count])
        del self.bytes[:count]
        self._taken += count
        self.images += 1
        return image

    def damaged(self, why: str) -> VideoError:
        return VideoError(
            f"{self._where()} (byte {self._taken:,}): {why}. Send JPEG, PNG, PPM or PGM pictures one after another, "
            "such as: ffmpeg -i IN -f image2pipe -c:v mjpeg -"
        )

    def _where(self) -> str:
        return f"{self.name}, picture {self.images + 1}"


def _length(window: _Window) -> int:
    """Bytes of the picture that begins here."""
    window.need(2)
    if _NETPBM.match(window.bytes):
        return _netpbm_length(window)
    for magic, length in ((_JPEG, _jpeg_length), (_PNG, _png_length)):
        if magic.startswith(bytes(window.bytes[: len(magic)])):
            window.need(len(magic))
            if window.bytes.startswith(magic):
                return length(window)
    raise window.damaged(f"the bytes {bytes(window.bytes[:4]).hex(' ')} begin no known picture")


def _png_length(window: _Window) -> int:
    at = len(_PNG)
    while True:
        window.need(at + 12)
        size, kind = int.from_bytes(window.bytes[at : at + 4], "big"), bytes(window.bytes[at + 4 : at + 8])
        at += 12 + size
        if kind == b"IEND":
            return at


def _jpeg_length(window: _Window) -> int:
    at = 2
    while True:
        window.need(at + 2)
        mark, code = window.bytes[at], window.bytes[at + 1]
        if mark != 0xFF or code == 0:
            raise window.damaged(
                f"a JPEG segment begins with {bytes(window.bytes[at : at + 2]).hex(' ')}, not a marker"
            )
        if code == 0xFF:  # fill byte
            at += 1
        elif code == _EOI:
            return at + 2
        elif code in _ALONE:
            at += 2
        else:
            window.need(at + 4)
            at += 2 + max(2, int.from_bytes(window.bytes[at + 2 : at + 4], "big"))
            if code == _SOS:
                at = _scan_end(window, at)


def _scan_end(window: _Window, at: int) -> int:
    """Where the coded pixels end: at a marker that is neither a stuffed zero nor a restart."""
    while True:
        window.need(at + 2)
        found = window.bytes.find(b"\xff", at, len(window.bytes) - 1)
        if found < 0:
            at = len(window.bytes) - 1
            continue
        code = window.bytes[found + 1]
        if code == 0xFF:
            at = found + 1
        elif code == 0 or 0xD0 <= code <= 0xD7:
            at = found + 2
        else:
            return found


def _netpbm_length(window: _Window) -> int:
    while not (header := _NETPBM_HEADER.match(window.bytes)):
        if len(window.bytes) >= _NETPBM_HEADER_BYTES or not window.has(len(window.bytes) + 1):
            raise window.damaged("its PPM header is not complete")
    kind, width, height, maximum = (int(value) for value in header.groups())
    if not 0 < maximum < 65536:
        raise window.damaged(f"its PPM header has the maximum {maximum}, which must be 1 to 65535")
    return header.end() + width * height * (3 if kind == 6 else 1) * (2 if maximum > 255 else 1)
