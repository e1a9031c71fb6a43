"""The same model in PyTorch: as a user writes it first, with the stem shared, compiled, and in bf16."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from benchmarks.peers import material
from benchmarks.peers.peer import Peer, images
from clsclip_bench.case import Workload
from clsclip_runtime.images import preprocess
from clsclip_runtime.masks.upsampling import logit


class TorchPeer(Peer):
    """From the picture's pixels to masks of its size; text tokens are there already. A case."""

    def __init__(self, bundle: str, threads: int | None = None, device: str = "cpu", dtype: str = "float32") -> None:
        self.bundle, self.threads, self.device, self.dtype = bundle, threads, device, dtype

    def load(self) -> None:
        """Build the model."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        self.torch = torch
        self.model = material.full_size_model().to(self.device)
        self.spec = material.image_spec(self.bundle)

    def prepare(self, workload: Workload) -> None:
        """The words of the workload."""
        self.workload = workload
        self.tokens = self.torch.from_numpy(material.text_tokens(self.bundle, workload)).to(self.device)

    def call(self) -> dict[str, float]:
        """Masks (C, K, H, W) of one call."""
        torch = self.torch
        pixels = np.stack([preprocess(image, self.spec) for image in images(self.workload)])
        lower = torch.autocast(self.device, getattr(torch, self.dtype), enabled=self.dtype != "float32")
        with torch.inference_mode(), lower:
            logits = self.forward(torch.from_numpy(pixels).to(self.device)).float()
            large = torch.nn.functional.interpolate(logits[:, None], (material.SIDE, material.SIDE), mode="bilinear")
            masks = (large > logit(0.5)).cpu().numpy()
        self.found = logits[: self.workload.classes].cpu().numpy()
        return {} if masks.any() else {"empty": 1.0}

    def forward(self, pixels: Any) -> Any:
        """Logits (C * K, h, w) of pixels (C, 3, S, S)."""
        raise NotImplementedError

    def pairs(self) -> tuple[Any, Any]:
        """Crop and class of every pair, all words of one crop after another."""
        crops = self.torch.arange(self.workload.crops, device=self.device).repeat_interleave(self.workload.classes)
        return crops, self.torch.arange(self.workload.classes, device=self.device).repeat(self.workload.crops)


class EagerLoop(TorchPeer):
    """What a user writes first: a call for every class, nothing shared."""

    def forward(self, pixels: Any) -> Any:
        zero = self.torch.zeros(1, dtype=self.torch.int64, device=self.device)
        made = [
            self.model(crop[None], self.tokens[at : at + 1], zero, zero)
            for crop in pixels
            for at in range(self.workload.classes)
        ]
        return self.torch.cat(made)

    def facts(self) -> dict[str, Any]:
        one = material.operations(self.bundle, 1, 1, 1)
        return {"pairs": self.workload.pairs, "operations": self.workload.pairs * one}


class EagerBatched(TorchPeer):
    """One call for all pairs; the stem runs once a crop."""

    def forward(self, pixels: Any) -> Any:
        return self.model(pixels, self.tokens, *self.pairs())


class Compiled(TorchPeer):
    """``torch.compile`` of the batched form. Compiling is its load time."""

    def load(self) -> None:
        super().load()
        logging.getLogger("torch").setLevel(logging.ERROR)
        self.compiled = self.torch.compile(self.model)

    def forward(self, pixels: Any) -> Any:
        return self.compiled(pixels, self.tokens, *self.pairs())
