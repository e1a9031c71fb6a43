"""ClsCLIP: stem, trunk and both together, presence, and the text encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from clsclip.model import ClsClip
from clsclip_export.architectures.base import Architecture, Graph, ImageEncoder, TextEncoder
from clsclip_export.architectures.sharing import shared_trunk
from clsclip_runtime.bundle import memory


class Stem(nn.Module):
    """pixel_values (C, 3, S, S) -> all of a crop that masks need: stem_tokens (C, 1 + v + m, d), and with the decoder
    input of that name detail (C, h, w, c).
    """

    def __init__(self, model: ClsClip) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return self.model.stem(pixel_values), *self.model.details(pixel_values)


class Trunk(nn.Module):
    """What runs once a pair: see :meth:`clsclip.model.ClsClip.trunk`.

    Args:
        model: what it is of.
        shared: compute once what pairs share, as bundles do; else the plain form, which parity compares with.
    """

    def __init__(self, model: ClsClip, *, shared: bool) -> None:
        super().__init__()
        self.model, self.shared = model, shared

    def forward(
        self,
        stem_tokens: Tensor,
        patch_features: Tensor,
        text_tokens: Tensor,
        crop_index: Tensor,
        class_index: Tensor,
        detail: Tensor | None = None,
    ) -> Tensor:
        pairs = text_tokens, crop_index, class_index, detail
        if self.shared:
            return shared_trunk(self.model, stem_tokens, patch_features, *pairs)
        return self.model.trunk(stem_tokens, patch_features, *pairs)


class Whole(nn.Module):
    """Stem and trunk in one: see :meth:`clsclip.model.ClsClip.forward`."""

    def __init__(self, model: ClsClip) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, text_tokens: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        stem, patch_features = self.model.stem_and_patches(pixel_values)
        pairs = text_tokens, crop_index, class_index
        return shared_trunk(self.model, stem, patch_features, *pairs, *self.model.details(pixel_values))


class ClsClipArchitecture(Architecture):
    """ClsCLIP in the paper's form and its variants."""

    model: ClsClip
    text_features = ("text_tokens", "text_features")

    def __init__(self, model: ClsClip) -> None:
        super().__init__(model)
        self.of_pixels = () if model.detail is None else ("detail",)
        self.image_features = ("stem_tokens", "image_features", "patch_features", *self.of_pixels)

    @property
    def mask_size(self) -> tuple[int, int]:
        side = self.towers.grid * self.model.config.upscale
        return side, side

    def graphs(self) -> list[Graph]:
        model, inputs = self.model, self.examples()
        pair = ("text_tokens", "crop_index", "class_index")
        features = ("image_features", "patch_features")
        of_trunk = ("stem_tokens", "patch_features", *pair, *self.of_pixels)
        trunk, plain = Trunk(model, shared=True), Trunk(model, shared=False)
        found = [
            self.graph(inputs, "segmenter.onnx", Whole(model), ("pixel_values", *pair), ("mask_logits",), model),
            self.graph(inputs, "image_encoder.onnx", ImageEncoder(model), ("pixel_values",), self.image_features),
            self.graph(inputs, "trunk.onnx", trunk, of_trunk, ("mask_logits",), plain),
            self.graph(inputs, "presence.onnx", model.presence, (*features, "text_features"), ("presence",)),
            self.graph(
                inputs, "text_encoder.onnx", TextEncoder(model), ("token_ids",), ("text_tokens", "text_features")
            ),
        ]
        if not model.reads_patches:  # else masks need CLIP's own path too, and so all of the image encoder
            outputs = ("stem_tokens", *self.of_pixels)
            found.append(self.graph(inputs, "stem.onnx", Stem(model), ("pixel_values",), outputs))
        return found

    def section(self) -> dict[str, Any]:
        config = self.model.config
        return {"variant": config.variant, "navigation_layers": sorted(config.navigation_layers)}

    def description(self) -> str:
        return f"ClsCLIP on {self.towers.name}."

    @property
    def tokens(self) -> int:
        return 1 + self.model.config.visual_prompts + self.towers.grid**2

    def pair_bytes(self) -> int:
        return memory.pair_bytes(self.tokens, self.towers.width, *self.mask_size)
