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
    DetectorError,
    ImageError,
    OptionError,
    OutputError,
    RegionError,
    VideoError,
    WordError,
)
from clsclip_runtime.version import __version__

if TYPE_CHECKING:
    from clsclip_runtime.bundle.opening import Bundle
    from clsclip_runtime.detectors import Detector
    from clsclip_runtime.inference.features import PictureFeatures
    from clsclip_runtime.regions import Proposals, RegionFile, ZoomIn
    from clsclip_runtime.results.instance import Region
    from clsclip_runtime.results.result import Result
    from clsclip_runtime.segmenter import Segmenter

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "ClsclipRuntimeError",
    "Detector",
    "DetectorError",
    "ImageError",
    "OptionError",
    "OutputError",
    "PictureFeatures",
    "Proposals",
    "Region",
    "RegionError",
    "RegionFile",
    "Result",
    "Segmenter",
    "VideoError",
    "WordError",
    "ZoomIn",
    "__version__",
]

_LAZY = {
    "Bundle": "clsclip_runtime.bundle.opening",
    "Detector": "clsclip_runtime.detectors",
    "PictureFeatures": "clsclip_runtime.inference.features",
    "Proposals": "clsclip_runtime.regions",
    "Region": "clsclip_runtime.results.instance",
    "RegionFile": "clsclip_runtime.regions",
    "Result": "clsclip_runtime.results.result",
    "Segmenter": "clsclip_runtime.segmenter",
    "ZoomIn": "clsclip_runtime.regions",
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
