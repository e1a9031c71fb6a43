"""Every error that ``clsclip_runtime`` raises on purpose.

    ClsclipRuntimeError
    ├── BundleError     a bundle is absent, damaged, too new, or not a bundle
    ├── ImageError      a picture cannot be read
    ├── WordError       a class word is empty, too long, or not text
    ├── OptionError     an argument has a value that makes no sense
    ├── BackendError    no engine can run the model, or its outputs are unusable
    ├── DetectorError   a detector is absent, damaged, or of an unknown layout
    ├── RegionError     a file of boxes cannot be read
    ├── VideoError      a video, camera or stream cannot be opened, or ends too early
    └── OutputError     results cannot be written

Messages say what happened, why, and what to do next. Nothing else is raised for a user's mistake.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BundleError",
    "ClsclipRuntimeError",
    "DetectorError",
    "ImageError",
    "OptionError",
    "OutputError",
    "RegionError",
    "VideoError",
    "WordError",
]


class ClsclipRuntimeError(Exception):
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


class VideoError(ClsclipRuntimeError):
    """A video, camera or stream cannot be opened, or ends too early."""


class OutputError(ClsclipRuntimeError):
    """Results cannot be written."""
