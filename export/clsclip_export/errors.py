"""Every error that ``clsclip_export`` raises on purpose.

ExportError
├── DetectorFileError   a detector's file cannot become part of a bundle
├── ParityError         an exported graph does not compute what PyTorch computes
└── TargetError         the bundle cannot be written where it was asked for
"""

from __future__ import annotations

__all__ = ["DetectorFileError", "ExportError", "ParityError", "TargetError"]


class ExportError(Exception):
    """Base of all errors of the export package."""


class DetectorFileError(ExportError):
    """A detector's file cannot become part of a bundle."""


class ParityError(ExportError):
    """An exported graph does not compute what PyTorch computes."""


class TargetError(ExportError):
    """The bundle cannot be written where it was asked for."""
