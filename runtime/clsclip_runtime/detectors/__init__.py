"""Detectors: boxes of things with a class and a score, from ONNX files, without the package that trained them."""

from __future__ import annotations

from clsclip_runtime.bundle.specs import DetectorSpec
from clsclip_runtime.detectors.base import Detector
from clsclip_runtime.detectors.layouts import ALIASES, LAYOUTS
from clsclip_runtime.detectors.names import COCO_NAMES, read_names
from clsclip_runtime.detectors.spec import read_spec

__all__ = [
    "ALIASES",
    "COCO_NAMES",
    "LAYOUTS",
    "Detector",
    "DetectorSpec",
    "read_names",
    "read_spec",
]
