"""The exported graph in an engine, used as its own documentation shows: the whole graph, default options."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers import material
from benchmarks.peers.peer import Peer, images
from clsclip_bench.case import Workload
from clsclip_runtime.images import preprocess
from clsclip_runtime.libraries import import_onnxruntime, import_openvino
from clsclip_runtime.masks.upsampling import upsample


class EnginePeer(Peer):
    """From the picture's pixels to masks of its size; text tokens are there already. A case."""

    def __init__(self, bundle: str, threads: int | None = None, precision: str = "fp32") -> None:
        self.bundle, self.threads, self.precision = bundle, threads, precision

    @property
    def graph(self) -> str:
        """Path of the graph."""
        return f"{self.bundle}/{material.SEGMENTER}"

    def load(self) -> None:
        """Load the graph."""
        self.spec = material.image_spec(self.bundle)

    def prepare(self, workload: Workload) -> None:
        """Words and pairs of the workload."""
        self.workload = workload
        self.feeds = {
            "text_tokens": material.text_tokens(self.bundle, workload),
            "crop_index": np.repeat(np.arange(workload.crops), workload.classes),
            "class_index": np.tile(np.arange(workload.classes), workload.crops),
        }

    def call(self) -> dict[str, float]:
        """Masks (C * K, H, W) of one call."""
        pixels = np.stack([preprocess(image, self.spec) for image in images(self.workload)])
        logits = self.run({"pixel_values": pixels, **self.feeds})
        masks = upsample(logits, (material.SIDE, material.SIDE)) > 0
        self.found = logits[: self.workload.classes]
        return {} if masks.any() else {"empty": 1.0}

    def run(self, feeds: dict[str, Any]) -> npt.NDArray[np.float32]:
        """Logits (P, h, w)."""
        raise NotImplementedError


class OnnxRuntimePeer(EnginePeer):
    """``onnxruntime.InferenceSession``."""

    def load(self) -> None:
        onnxruntime = import_onnxruntime()
        super().load()
        options = onnxruntime.SessionOptions()
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        self.session = onnxruntime.InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])

    def run(self, feeds: dict[str, Any]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = self.session.run(["mask_logits"], feeds)[0]
        return logits


class OpenVinoPeer(EnginePeer):
    """``openvino.compile_model``; the precision is told, for OpenVINO takes bf16 by itself where the CPU has it."""

    def load(self) -> None:
        openvino = import_openvino()
        super().load()
        hint = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}[self.precision]
        options = {"INFERENCE_PRECISION_HINT": hint}
        if self.threads is not None:
            options["INFERENCE_NUM_THREADS"] = str(self.threads)
        self.compiled = openvino.compile_model(self.graph, "CPU", options)

    def run(self, feeds: dict[str, Any]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = self.compiled(feeds)["mask_logits"]
        return logits
