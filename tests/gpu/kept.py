"""What stays on the GPU between encoder and masks: the same logits as by way of the host, and few bytes that cross."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from clsclip_runtime import Segmenter
from clsclip_runtime.arrays import Arrays, DeviceArray
from clsclip_runtime.backends.cuda.calls import Bytes, Cuda
from clsclip_runtime.backends.tensorrt.backend import GRAPH_BUCKETS, TensorRt
from tests.gpu import material as given
from tests.gpu.checks import FP32_TOLERANCE, WrongError
from tests.gpu.material import WORDS, Material

FLOAT, INDEX = 4, 8


class CountedCuda:
    """CUDA that counts the bytes of copies; all else is handed on."""

    def __init__(self, cuda: Cuda) -> None:
        """Count what ``cuda`` copies."""
        self._cuda = cuda
        self.crossed: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        """What is not counted."""
        return getattr(self._cuda, name)

    def to_device(self, address: int, memory: Bytes, stream: int) -> None:
        """Count, and copy."""
        self.crossed["to_device"] += memory.nbytes
        self._cuda.to_device(address, memory, stream)

    def to_host(self, memory: Bytes, address: int, stream: int) -> None:
        """Count, and copy."""
        self.crossed["to_host"] += memory.nbytes
        self._cuda.to_host(memory, address, stream)

    def on_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Count, and copy."""
        self.crossed["on_device"] += size
        self._cuda.on_device(target, source, size, stream)


def kept(path: str, precision: str, material: Material) -> dict[str, Any]:
    """One picture and six regions, every word; raises WrongError where logits differ or too much crosses."""
    bundle, image = material.bundles[precision], material.images[0]
    backend, counted = given.backend_of(path)(bundle), None
    if isinstance(backend, TensorRt):  # what ONNX Runtime copies cannot be seen
        counted = backend._cuda = CountedCuda(backend._cuda)  # type: ignore[assignment]
    with Segmenter.load(bundle, backend, word_cache=False) as segmenter:
        segmenter(image, WORDS, presence_threshold=0)  # words are encoded
        features = segmenter.set_image(image)
        stays = [name for name, array in features.arrays.items() if isinstance(array, DeviceArray)]
        if not stays and path != "onnxruntime-cpu":
            raise WrongError("the encoder's outputs came to the host")
        before = Counter() if counted is None else counted.crossed.copy()
        found = segmenter.predict(WORDS, image=features, presence_threshold=0)
        figures: dict[str, Any] = {"stays": stays, "notes": list(found.backend_notes)}
        if counted is not None:
            token = int(segmenter.bundle.manifest.model["d_text"]) * FLOAT
            figures |= check_crossed(
                counted.crossed - before, features.arrays, len(WORDS), found.logits[0].nbytes, token
            )
        moved = segmenter.predict(WORDS, image=features.to_host(), presence_threshold=0)
        side = min(image.shape[:2])
        boxes = [[x, y, x + side / 2, y + side / 2] for x in (0, side / 4, side / 2) for y in (0, side / 2)]
        together = segmenter(image, WORDS, presence_threshold=0, regions=boxes).pairs.logits
        alone = [segmenter(image, WORDS, presence_threshold=0, regions=[box]).pairs.logits for box in boxes]
    worst = max(float(np.abs(found.logits - moved.logits).max()), float(np.abs(together - np.concatenate(alone)).max()))
    if not worst <= FP32_TOLERANCE * (1 if precision == "fp32" else 100):
        raise WrongError(f"what stayed on the GPU gives other logits than what did not: they differ by {worst}")
    return figures | {"max_difference": worst}


def check_crossed(crossed: Counter[str], arrays: Arrays, words: int, mask: int, token: int) -> dict[str, Any]:
    """Bytes that one ``predict`` moved; raises WrongError for more than words, indices, presence and logits.

    Args:
        crossed: bytes by direction.
        arrays: of one picture.
        words: how many were asked, all of them segmented.
        mask, token: bytes of one mask's logits and of one text token.
    """
    pairs = words + max(GRAPH_BUCKETS)  # a call may be filled up
    up = words * arrays["image_features"].shape[1] * FLOAT + pairs * (token + 2 * INDEX)
    down = words * FLOAT + pairs * mask
    if crossed["to_device"] > up or crossed["to_host"] > down:
        raise WrongError(f"{dict(crossed)} bytes were copied, and at most {up} up and {down} down were expected")
    return {"crossed": dict(crossed), "stayed": sum(array.nbytes for array in arrays.values())}
