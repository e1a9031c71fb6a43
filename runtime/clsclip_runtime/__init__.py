"""Run ClsCLIP bundles: any class that can be named, segmented without PyTorch.

    from clsclip_runtime import Segmenter

    segmenter = Segmenter.load("model.clsclip")
    result = segmenter("photo.jpg", classes=["bottle", "boat"])
    result.save("out", formats=["png", "overlay", "coco"])

Importing this package is cheap: numpy, Pillow and onnxruntime are loaded when they are first needed.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from clsclip_runtime.errors import (
    BackendError,
    BundleError,
    ClsclipRuntimeError,
    ImageError,
    OptionError,
    OutputError,
    WordError,
)
from clsclip_runtime.version import __version__

if TYPE_CHECKING:
    from clsclip_runtime.bundle import Bundle
    from clsclip_runtime.result import Result
    from clsclip_runtime.segmenter import PictureFeatures, Segmenter

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "ClsclipRuntimeError",
    "ImageError",
    "OptionError",
    "OutputError",
    "PictureFeatures",
    "Result",
    "Segmenter",
    "WordError",
    "__version__",
]

_LAZY = {
    "Bundle": "clsclip_runtime.bundle",
    "PictureFeatures": "clsclip_runtime.segmenter",
    "Result": "clsclip_runtime.result",
    "Segmenter": "clsclip_runtime.segmenter",
}

# A library does not print by itself; programs that want the log attach a handler.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
