"""Every error that ``clsclip_export`` raises on purpose.

ExportError
├── CalibrationError    the images that INT8's ranges come from cannot be used
├── CheckDataError      the images or words to check on cannot be used
├── DetectorFileError   a detector's file cannot become part of a bundle
├── EngineError         TensorRT cannot build an engine, or built another than was asked for
├── ParityError         an exported graph does not compute what PyTorch computes
├── PrecisionError      a model cannot be expressed in the precision asked for
└── ProfileError        numbers of crops, classes or pairs that make no sense

What cannot be written raises ``clsclip_runtime.OutputError``.
"""

from __future__ import annotations

from clsclip_runtime.errors import EncodableError

__all__ = [
    "CalibrationError",
    "CheckDataError",
    "DetectorFileError",
    "EngineError",
    "ExportError",
    "ParityError",
    "PrecisionError",
    "ProfileError",
]


class ExportError(EncodableError):
    """Base of all errors of the export package."""


class CalibrationError(ExportError):
    """The images that INT8's ranges come from cannot be used."""


class CheckDataError(ExportError):
    """The images or words to check an export on cannot be used."""


class DetectorFileError(ExportError):
    """A detector's file cannot become part of a bundle."""


class EngineError(ExportError):
    """TensorRT cannot build an engine, or built another than was asked for."""


class ParityError(ExportError):
    """An exported graph does not compute what PyTorch computes."""


class PrecisionError(ExportError):
    """A model cannot be expressed in the precision asked for."""


class ProfileError(ExportError):
    """Numbers of crops, classes or pairs that make no sense."""
