"""The embedded model in half on sticker pictures, through the whole runtime: as it ships, and rounded as on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from clsclip_export.parity import MIN_COSINE, MIN_IOU, pooled_iou, row_cosines
from clsclip_export.precision import rounded
from clsclip_export.verify import ALWAYS_FP32
from clsclip_runtime import Segmenter
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.protocols import Backend, Graph, GraphFile
from tests.export.engine_bundles import embedded_bundle

WORDS = ["bottle", "boat", "dog", "fish", "pizza"]
IMAGES = Path(__file__).parents[2] / "examples"


class Rounding:
    """ONNX Runtime on the doubles that round wherever a GPU would."""

    name = "rounding"

    def __init__(self, folder: Path, precision: str) -> None:
        self._folder, self._precision = folder, precision

    def load(self, file: GraphFile) -> Graph:
        path = file.path
        model = onnx.load(path)
        double = self._folder / f"{self._precision}_{path.name}"
        wide = path.name in ALWAYS_FP32
        double.write_bytes((model if wide else rounded(model, self._precision)).SerializeToString())
        return OnnxRuntimeCpu().load(read_graph(double))


def logits(bundle: Path | None, backend: str | Backend) -> tuple[np.ndarray, float]:
    image = Image.open(IMAGES / "cluttered.png").convert("RGB")
    with Segmenter.load(bundle, backend) as segmenter:
        results = [segmenter(image.rotate(turn), WORDS, presence_threshold=0) for turn in (0, 90, 180)]
    return np.concatenate([one.logits for one in results]), results[0].mask_logit


def test_half_on_sticker_pictures(tmp_path: Path) -> None:
    expected, mask_logit = logits(None, "onnxruntime-cpu")
    shipped = embedded_bundle(tmp_path / "fp16.clsclip", "fp16")
    found = {
        "fp16 as it ships": logits(shipped, "onnxruntime-cpu")[0],
        "fp16 rounded": logits(None, Rounding(tmp_path, "fp16"))[0],
        "bf16 rounded": logits(None, Rounding(tmp_path, "bf16"))[0],
    }
    for name, ours in found.items():
        assert row_cosines(ours, expected).min() >= MIN_COSINE, name
        iou = pooled_iou(ours > mask_logit, expected > mask_logit)
        assert iou is not None, "the words are in the pictures"
        assert iou >= MIN_IOU, (name, iou)
        assert iou < 1 or name.startswith("fp16"), "BF16 turns some pixels around"
    errors = {name: float(np.abs(ours - expected).max()) for name, ours in found.items()}
    assert 0 < errors["fp16 as it ships"] < errors["fp16 rounded"] < errors["bf16 rounded"]
    with pytest.raises(AssertionError):
        assert row_cosines(expected[::-1], expected).min() >= MIN_COSINE
