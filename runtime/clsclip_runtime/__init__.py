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
    AnnotationError,
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
    from clsclip_runtime.bundle import Bundle
    from clsclip_runtime.detectors import Detector
    from clsclip_runtime.images import DecodedImage, open_image
    from clsclip_runtime.inference.features import ImageFeatures
    from clsclip_runtime.isolated.backend import Isolation
    from clsclip_runtime.limits import Limits
    from clsclip_runtime.masks.rle import RleMask
    from clsclip_runtime.regions import Proposals, RegionFile, ZoomIn
    from clsclip_runtime.results.class_result import ClassResult
    from clsclip_runtime.results.instance import Instance
    from clsclip_runtime.results.result import Result
    from clsclip_runtime.segmenter import Segmenter

__all__ = [
    "AnnotationError",
    "BackendError",
    "Bundle",
    "BundleError",
    "ClassResult",
    "ClsclipRuntimeError",
    "DecodedImage",
    "Detector",
    "DetectorError",
    "ImageError",
    "ImageFeatures",
    "Instance",
    "Isolation",
    "Limits",
    "OptionError",
    "OutputError",
    "Proposals",
    "RegionError",
    "RegionFile",
    "Result",
    "RleMask",
    "Segmenter",
    "VideoError",
    "WordError",
    "ZoomIn",
    "__version__",
    "open_image",
]

_LAZY = {
    "Bundle": "clsclip_runtime.bundle",
    "ClassResult": "clsclip_runtime.results.class_result",
    "DecodedImage": "clsclip_runtime.images",
    "Detector": "clsclip_runtime.detectors",
    "ImageFeatures": "clsclip_runtime.inference.features",
    "Instance": "clsclip_runtime.results.instance",
    "Isolation": "clsclip_runtime.isolated.backend",
    "Limits": "clsclip_runtime.limits",
    "Proposals": "clsclip_runtime.regions",
    "RegionFile": "clsclip_runtime.regions",
    "Result": "clsclip_runtime.results.result",
    "RleMask": "clsclip_runtime.masks.rle",
    "Segmenter": "clsclip_runtime.segmenter",
    "ZoomIn": "clsclip_runtime.regions",
    "open_image": "clsclip_runtime.images",
}

# A library does not print by itself; programs that want the log attach a handler.
logging.getLogger(__name__).addHandler(logging.NullHandler())


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            from clsclip_runtime.renamed import missing_name

            raise missing_name(__name__, name)
        value: object = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
