"""CLIP without a decoder: patches in the text's space are a crop's features, and the trunk is one product."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from clsclip.training_free import SAME, TrainingFree, against
from clsclip_export.architectures.base import Architecture, Graph, ImageEncoder, TextEncoder


class Product(nn.Module):
    """Mask logits of P pairs; all words of a call, and the background, are one product.

    The background is a constant of the graph. What no weight enters stays in FP32 in every precision, as the last
    product of every architecture does.
    """

    def __init__(self, model: TrainingFree) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("background", model.background_features.clone(), persistent=False)

    def forward(self, patch_features: Tensor, text_features: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        count = self.model.background_features.shape[0]
        texts = torch.cat([cast(Tensor, self.background), text_features], dim=0)
        scores = self.model.scale * (texts @ patch_features.transpose(1, 2))  # (C, B + K, m)
        shares = scores[:, count:] - torch.logsumexp(scores[:, :count], dim=1, keepdim=True)
        same = (texts @ text_features.T)[:count].amax(dim=0) >= SAME  # (K)
        words, grid = text_features.shape[0], self.model.towers.grid
        rows = shares.reshape(-1, shares.shape[2]).index_select(0, crop_index * words + class_index)
        logits = against(rows, same.index_select(0, class_index).unsqueeze(1))
        return logits.reshape(-1, grid, grid)


class Plain(nn.Module):
    """What the trunk must compute: see :meth:`clsclip.training_free.TrainingFree.trunk`."""

    def __init__(self, model: TrainingFree) -> None:
        super().__init__()
        self.model = model

    def forward(self, patch_features: Tensor, text_features: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        return self.model.trunk(patch_features, text_features, crop_index, class_index)


class Whole(nn.Module):
    """Image encoder and trunk in one."""

    def __init__(self, model: TrainingFree) -> None:
        super().__init__()
        self.model, self.product = model, Product(model)

    def forward(self, pixel_values: Tensor, text_features: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        patches = self.model.encode_image(pixel_values)[1]
        return cast(Tensor, self.product(patches, text_features, crop_index, class_index))


class TrainingFreeArchitecture(Architecture):
    """CLIP's towers with one of the ways to run their last layer."""

    model: TrainingFree
    image_features = ("image_features", "patch_features")
    text_features = ("text_features",)

    def __init__(self, model: TrainingFree) -> None:
        super().__init__(model)
        self.templates = model.templates

    @property
    def mask_size(self) -> tuple[int, int]:
        return self.towers.grid, self.towers.grid

    def graphs(self) -> list[Graph]:
        model, inputs = self.model, self.examples()
        pair, logits, pixels = ("text_features", "crop_index", "class_index"), ("mask_logits",), ("pixel_values",)
        patches = ("patch_features", *pair)
        presence = (*self.image_features, "text_features")
        return [
            self.graph(inputs, "segmenter.onnx", Whole(model), (*pixels, *pair), logits, model),
            self.graph(inputs, "image_encoder.onnx", ImageEncoder(model), pixels, self.image_features),
            self.graph(inputs, "trunk.onnx", Product(model), patches, logits, Plain(model)),
            self.graph(inputs, "presence.onnx", model.presence, presence, ("presence",)),
            self.graph(inputs, "text_encoder.onnx", TextEncoder(model), ("token_ids",), self.text_features),
        ]

    def section(self) -> dict[str, Any]:
        return {"architecture": "training-free", "variant": self.model.method}

    def description(self) -> str:
        return f"{self.towers.name} without a decoder ({self.model.method})."

    def pair_bytes(self) -> int:
        return 4 * 6 * self.towers.grid**2 + 4 * self.towers.feature_width

    def more(self) -> dict[str, Any]:
        return {"background": {"prompts": list(self.model.background), "scale": self.model.scale}}
