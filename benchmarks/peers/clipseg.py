"""CLIPSeg from transformers at equal input size: as its documentation shows, and with its encoder shared by hand.

Random weights of the released model's size (ViT-B/16, three decoder layers 64 wide); text embeddings are there already.
Its encoder does not depend on the class, ours does: another model, so its masks are compared with its own alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import material
from benchmarks.peers.peer import Peer, images
from clsclip_bench.case import Workload
from clsclip_runtime.images import preprocess

CONFIG: dict[str, Any] = {"vision_config": {"image_size": material.SIDE, "patch_size": material.PATCH}}
"""All else is transformers' default, which is the released model's size."""


class ClipSegPeer(Peer):
    """From the picture's pixels to masks of its size. A case."""

    def __init__(self, bundle: str, threads: int | None = None) -> None:
        self.bundle, self.threads = bundle, threads
        self.operations: float | None = None

    def load(self) -> None:
        """Build the model."""
        import torch
        from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        torch.manual_seed(material.SEED)
        self.torch, self.model = torch, CLIPSegForImageSegmentation(CLIPSegConfig(**CONFIG)).eval()
        self.spec = material.image_spec(self.bundle)

    def prepare(self, workload: Workload) -> None:
        """Embeddings of the workload's words: any numbers of unit norm."""
        self.workload = workload
        torch = self.torch
        generator = torch.Generator().manual_seed(material.SEED)
        made = torch.randn(workload.classes, self.model.config.projection_dim, generator=generator)
        self.words = torch.nn.functional.normalize(made, dim=-1).repeat(workload.crops, 1)

    def call(self) -> dict[str, float]:
        """Masks (C * K, H, W) of one call; the first call counts its operations."""
        from torch.utils.flop_counter import FlopCounterMode

        pixels = self.torch.from_numpy(np.stack([preprocess(image, self.spec) for image in images(self.workload)]))
        with self.torch.inference_mode():
            if self.operations is None:
                with FlopCounterMode(display=False) as counter:
                    logits = self.forward(pixels)
                self.operations = float(counter.get_total_flops())
            else:
                logits = self.forward(pixels)
            masks = (logits > 0).numpy()
        self.found = logits[: self.workload.classes].numpy()
        return {} if masks.any() else {"empty": 1.0}

    def forward(self, pixels: Any) -> Any:
        """Logits (C * K, S, S) of pixels (C, 3, S, S)."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Pairs, and operations of a call."""
        return {"pairs": self.workload.pairs, "operations": self.operations}


class Documented(ClipSegPeer):
    """As documented: the picture is repeated for every prompt, and all go through the whole model."""

    def forward(self, pixels: Any) -> Any:
        repeated = pixels.repeat_interleave(self.workload.classes, dim=0)
        return self.model(pixel_values=repeated, conditional_embeddings=self.words).logits


class EncoderShared(ClipSegPeer):
    """The encoder once a picture, its activations repeated for every prompt, then the decoder."""

    def forward(self, pixels: Any) -> Any:
        states = self.model.clip.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
        chosen = [states[layer + 1] for layer in self.model.extract_layers]
        activations = [one.repeat_interleave(self.workload.classes, dim=0) for one in chosen]
        return self.model.decoder(activations, self.words).logits
