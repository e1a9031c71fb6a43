"""Detectors: boxes of things with a class and a score, from ONNX files, without the package that trained them."""

from __future__ import annotations

from clsclip_runtime.detectors.base import Detections, Detector
from clsclip_runtime.detectors.names import same_class

__all__ = ["Detections", "Detector", "same_class"]
