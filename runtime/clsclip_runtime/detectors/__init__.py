"""Detectors: boxes of things with a class and a score, from ONNX files, without the package that trained them."""

from __future__ import annotations

from clsclip_runtime.detectors.base import Detections, Detector
from clsclip_runtime.detectors.layouts import ALIASES, LAYOUTS
from clsclip_runtime.detectors.matching import NEAREST, Encode, WordMatch, match_words, same_class
from clsclip_runtime.detectors.names import COCO_NAMES, read_names
from clsclip_runtime.detectors.spec import read_spec
from clsclip_runtime.manifest import DetectorSpec

__all__ = [
    "ALIASES",
    "COCO_NAMES",
    "LAYOUTS",
    "NEAREST",
    "Detections",
    "Detector",
    "DetectorSpec",
    "Encode",
    "WordMatch",
    "match_words",
    "read_names",
    "read_spec",
    "same_class",
]
