"""Every error that ``clsclip_runtime`` raises on purpose.

    ClsclipRuntimeError
    ├── BundleError     a bundle is absent, damaged, too new, or not a bundle
    ├── ImageError      a picture cannot be read
    ├── WordError       a class word is empty, too long, or not text
    ├── OptionError     an argument has a value that makes no sense
    ├── BackendError    no engine can run the model, or its outputs are unusable
    ├── DetectorError   a detector is absent, damaged, or of an unknown layout
    ├── RegionError     a file of boxes cannot be read
    ├── AnnotationError a mask that another tool wrote cannot be decoded
    ├── VideoError      a video, camera or stream cannot be opened, or ends too early
    └── OutputError     results cannot be written

Messages say what happened, why, and what to do next. Nothing else is raised for a user's mistake.
"""

from __future__ import annotations

import unicodedata

__all__ = [
    "AnnotationError",
    "BackendError",
    "BundleError",
    "ClsclipRuntimeError",
    "DetectorError",
    "EncodableError",
    "ImageError",
    "OptionError",
    "OutputError",
    "RegionError",
    "VideoError",
    "WordError",
    "one_line",
    "printable",
]

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"
"""They are a part of how Persian, Hindi and emoji are written, and move nothing."""


class EncodableError(Exception):
    """An error whose text can be encoded, whatever path or word it quotes: they may hold half of a surrogate pair."""

    def __str__(self) -> str:
        return super().__str__().encode("utf-8", "backslashreplace").decode("utf-8")


class ClsclipRuntimeError(EncodableError):
    """Base of all errors of the runtime."""


class BundleError(ClsclipRuntimeError):
    """A bundle is absent, damaged, too new, or not a bundle."""


class ImageError(ClsclipRuntimeError):
    """A picture cannot be read."""


class WordError(ClsclipRuntimeError):
    """A class word is empty, too long, or not text."""


class OptionError(ClsclipRuntimeError, ValueError):
    """An argument has a value that makes no sense."""


class BackendError(ClsclipRuntimeError):
    """No engine can run the model, or its outputs are unusable."""


class DetectorError(ClsclipRuntimeError):
    """A detector is absent, damaged, or of an unknown layout."""


class RegionError(ClsclipRuntimeError):
    """A file of boxes cannot be read."""


class AnnotationError(ClsclipRuntimeError):
    """A mask that another tool wrote cannot be decoded."""


class VideoError(ClsclipRuntimeError):
    """A video, camera or stream cannot be opened, or ends too early."""


class OutputError(ClsclipRuntimeError):
    """Results cannot be written."""


def printable(text: str) -> str:
    """A text that a terminal may show: control characters, marks of direction and halves of characters become ``?``.

    Names of files and models, words and other programs' messages go through it before they are printed: a terminal
    obeys escape sequences, and marks of direction make a text look like another. Spaces stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "?" if unicodedata.category(one) in _HIDDEN and one not in _JOINERS else one for one in text.expandtabs(4)
    )


def one_line(message: object, most: int | None = None) -> str:
    """A message as one printable line, whatever names and reasons it quotes.

    Args:
        message: an error, or a text.
        most: characters; what is longer is cut off.
    """
    return printable(" ".join(str(message).split())[:most])
