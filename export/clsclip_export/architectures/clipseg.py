"""CLIPSeg: its reduced activations are a crop's features, its projected text the word's, its decoder the trunk.

The transposed convolutions have a stride as large as their kernel: no two of their squares overlap, so each is one
product for every patch, whose numbers are then put side by side. So they are exported as products, which engines run
faster, and which half precision and INT8 know.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from clsclip.clipseg import ClipSeg
from clsclip_export.architectures.base import Architecture, Graph, ImageEncoder, TextEncoder


class Squares(nn.Module):
    """A transposed convolution whose stride is its kernel, as one product for each place."""

    def __init__(self, source: nn.ConvTranspose2d) -> None:
        super().__init__()
        channels, made, side, _ = source.weight.shape
        self.made, self.side = made, side
        self.linear = nn.Linear(channels, made * side * side)
        with torch.no_grad():
            self.linear.weight.copy_(source.weight.reshape(channels, -1).T)
            self.linear.bias.copy_(cast(Tensor, source.bias).repeat_interleave(side * side))

    def forward(self, places: Tensor) -> Tensor:
        """(P, g, g, channels) -> (P, g * side, g * side, made)."""
        pairs, grid = places.shape[0], places.shape[1]
        squares = self.linear(places).reshape(pairs, grid, grid, self.made, self.side, self.side)
        return squares.permute(0, 1, 4, 2, 5, 3).reshape(pairs, grid * self.side, grid * self.side, self.made)


class Upsampling(nn.Module):
    """Patches (P, m, r) -> mask logits (P, h, w), by products."""

    def __init__(self, model: ClipSeg) -> None:
        super().__init__()
        self.grid, source = model.towers.grid, model.decoder.upsampling
        self.conv = source[0] if isinstance(source, nn.Sequential) else None
        parts = [source[2], source[4]] if isinstance(source, nn.Sequential) else [source]
        self.squares = nn.ModuleList(Squares(cast(nn.ConvTranspose2d, one)) for one in parts)

    def forward(self, patches: Tensor) -> Tensor:
        places = patches.reshape(patches.shape[0], self.grid, self.grid, -1)
        if self.conv is not None:
            places = torch.relu(self.conv(places.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        for at, one in enumerate(self.squares):
            places = one(torch.relu(places) if at else places)
        return places.squeeze(-1)


class Trunk(nn.Module):
    """The decoder on reduced activations: see :meth:`clsclip.clipseg.ClipSeg.decode`.

    Args:
        model: what it is of.
        shared: upsample by products, as bundles do; else by transposed convolutions, which parity compares with.
    """

    def __init__(self, model: ClipSeg, *, shared: bool) -> None:
        super().__init__()
        self.model = model
        self.upsampling = Upsampling(model) if shared else None

    def forward(self, *inputs: Tensor) -> Tensor:
        *reduced, text_tokens, crop_index, class_index = inputs
        patches = self.model.decode(tuple(reduced), text_tokens, crop_index, class_index)
        return self.model.upsample(patches) if self.upsampling is None else cast(Tensor, self.upsampling(patches))


class Stem(nn.Module):
    """pixel_values (C, 3, S, S) -> the reduced activations: all of a crop that masks need."""

    def __init__(self, model: ClipSeg) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return self.model.reduced(pixel_values, all_layers=False)[0]


class Whole(nn.Module):
    """Stem and trunk in one."""

    def __init__(self, model: ClipSeg) -> None:
        super().__init__()
        self.stem, self.trunk = Stem(model), Trunk(model, shared=True)

    def forward(self, pixel_values: Tensor, text_tokens: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        return cast(Tensor, self.trunk(*self.stem(pixel_values), text_tokens, crop_index, class_index))


class ClipSegArchitecture(Architecture):
    """CLIPSeg with any number of decoder layers, both ways of upsampling."""

    model: ClipSeg
    templates = ("{}",)
    text_features = ("text_tokens", "text_features")

    def __init__(self, model: ClipSeg) -> None:
        super().__init__(model)
        self.reduced = tuple(f"reduced_{at}" for at in range(len(model.config.extract_layers)))
        self.image_features = (*self.reduced, "image_features", "patch_features")

    @property
    def mask_size(self) -> tuple[int, int]:
        patch = self.towers.patch
        side = self.towers.grid * ((patch // 4) ** 2 if self.model.config.complex_upsampling else patch)
        return side, side

    def graphs(self) -> list[Graph]:
        model, inputs = self.model, self.examples()
        pair, logits = ("text_tokens", "crop_index", "class_index"), ("mask_logits",)
        of_clip, pixels = ("image_features", "patch_features"), ("pixel_values",)
        trunk, plain = Trunk(model, shared=True), Trunk(model, shared=False)
        return [
            self.graph(inputs, "segmenter.onnx", Whole(model), (*pixels, *pair), logits, model),
            self.graph(inputs, "image_encoder.onnx", ImageEncoder(model), pixels, self.image_features),
            self.graph(inputs, "trunk.onnx", trunk, (*self.reduced, *pair), logits, plain),
            self.graph(inputs, "presence.onnx", model.presence, (*of_clip, "text_features"), ("presence",)),
            self.graph(inputs, "text_encoder.onnx", TextEncoder(model), ("token_ids",), self.text_features),
            self.graph(inputs, "stem.onnx", Stem(model), pixels, self.reduced),
        ]

    def section(self) -> dict[str, Any]:
        config = self.model.config
        return {"architecture": "CLIPSeg", "variant": config.variant, "extract_layers": list(config.extract_layers)}

    def description(self) -> str:
        return f"CLIPSeg ({self.towers.name})."

    def pair_bytes(self) -> int:
        config, (height, width) = self.model.config, self.mask_size
        tokens, heads = self.tokens, config.decoder_heads
        layer = tokens * (8 * config.reduce_dim + 2 * config.decoder_width) + 2 * heads * tokens * tokens
        squares = 2 * height * width
        if config.complex_upsampling:
            side = self.towers.grid * (self.towers.patch // 4)
            squares += 2 * side * side * (config.reduce_dim // 2)
        return 4 * max(layer, squares)
