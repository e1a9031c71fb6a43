"""Every error that ``clsclip_export`` raises on purpose.

ExportError
├── CalibrationError    the pictures that INT8's ranges come from cannot be used
├── DetectorFileError   a detector's file cannot become part of a bundle
├── EngineError         TensorRT cannot build an engine, or built another than was asked for
├── EvidenceError       the pictures or words to check on cannot be used
├── ParityError         an exported graph does not compute what PyTorch computes
├── PrecisionError      a model cannot be expressed in the precision asked for
├── ProfileError        numbers of crops, classes or pairs that make no sense
└── TargetError         the bundle cannot be written where it was asked for
"""

from __future__ import annotations

__all__ = [
    "CalibrationError",
    "DetectorFileError",
    "EngineError",
    "EvidenceError",
    "ExportError",
    "ParityError",
    "PrecisionError",
    "ProfileError",
    "TargetError",
]


class ExportError(Exception):
    """Base of all errors of the export package."""


class CalibrationError(ExportError):
    """The pictures that INT8's ranges come from cannot be used."""


class DetectorFileError(ExportError):
    """A detector's file cannot become part of a bundle."""


class EngineError(ExportError):
    """TensorRT cannot build an engine, or built another than was asked for."""


class EvidenceError(ExportError):
    """The pictures or words to check an export on cannot be used."""


class ParityError(ExportError):
    """An exported graph does not compute what PyTorch computes."""


class PrecisionError(ExportError):
    """A model cannot be expressed in the precision asked for."""


class ProfileError(ExportError):
    """Numbers of crops, classes or pairs that make no sense."""


class TargetError(ExportError):
    """The bundle cannot be written where it was asked for."""
