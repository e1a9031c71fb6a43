"""Evaluation: mIoU, FB-IoU, leakage and which-word mIoU of anything that draws masks for words."""

from __future__ import annotations

from clsclip.evaluation.controls import ShuffledWords, prompted, shuffled
from clsclip.evaluation.evaluate import ClassResult, Method, Report, evaluate, mean_of
from clsclip.evaluation.metric import Scores
from clsclip.evaluation.predictors import (
    BundlePredictor,
    CheckpointPredictor,
    Prediction,
    Predictor,
    Prompted,
    open_predictor,
)
from clsclip.evaluation.protocol import Protocol
from clsclip.evaluation.regions import DetectorRegions, FileRegions, RegionSource, TruthRegions
from clsclip.evaluation.tables import table

__all__ = [
    "BundlePredictor",
    "CheckpointPredictor",
    "ClassResult",
    "DetectorRegions",
    "FileRegions",
    "Method",
    "Prediction",
    "Predictor",
    "Prompted",
    "Protocol",
    "RegionSource",
    "Report",
    "Scores",
    "ShuffledWords",
    "TruthRegions",
    "evaluate",
    "mean_of",
    "open_predictor",
    "prompted",
    "shuffled",
    "table",
]
