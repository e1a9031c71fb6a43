"""CLIPSeg (Lüddecke and Ecker, 2022): a frozen CLIP, and a small decoder that the projected text modulates.

A_i     = what chosen layers of the image tower give, the deepest first                         (C, 1 + m, d)
x       = R_0(A_0), then x = D_{i-1}(x) + R_i(A_i)      R_i: one linear map a layer, d -> r; D_i: a transformer layer
x       = gamma(t) * x + beta(t)                        t: the projected text, once, before D of one layer
O       = a transposed convolution of x's patches       mask logits

Only R_i see the image tower, and they know nothing of the word: they run once a crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from clsclip.base import WordSegmenter
from clsclip.errors import TowersError
from clsclip.model import Presence
from clsclip.towers import Towers
from clsclip.vit import attention

_HIDDEN = 512
"""Hidden values of a token that the decoder holds at a time. All 2,048 of a word's tokens are 4 MB, which a processor's
cache does not keep: in parts, a word took 9 % less of the processor in OpenVINO, 3 to 12 % in ONNX Runtime."""


@dataclass(frozen=True)
class ClipSegConfig:
    """What a CLIPSeg is made of, besides its towers.

    Attributes:
        extract_layers: layers of the image tower whose outputs the decoder reads.
        reduce_dim: width r of the decoder.
        decoder_heads: attention heads of each of its layers.
        decoder_width: of their MLPs.
        conditional_layer: before which of them the text modulates.
        complex_upsampling: a convolution and two transposed ones, and not one.
        norm_eps: of the decoder's normalization.
    """

    extract_layers: tuple[int, ...] = (3, 6, 9)
    reduce_dim: int = 64
    decoder_heads: int = 4
    decoder_width: int = 2048
    conditional_layer: int = 0
    complex_upsampling: bool = False
    norm_eps: float = 1e-5

    @property
    def variant(self) -> str:
        """Such as ``rd64`` or ``rd64-refined``, as the released weights are called."""
        return f"rd{self.reduce_dim}" + ("-refined" if self.complex_upsampling else "")


class DecoderLayer(nn.Module):
    """A transformer layer that normalizes after each sum."""

    def __init__(self, config: ClipSegConfig) -> None:
        super().__init__()
        width = config.reduce_dim
        self.attn = nn.MultiheadAttention(width, config.decoder_heads, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(width, config.decoder_width), nn.Linear(config.decoder_width, width)
        self.ln_1, self.ln_2 = nn.LayerNorm(width, config.norm_eps), nn.LayerNorm(width, config.norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        """(P, n, r) -> (P, n, r)."""
        tokens = self.ln_1(tokens + attention(self.attn, tokens))
        return cast(Tensor, self.ln_2(tokens + self._mlp(tokens)))

    def _mlp(self, tokens: Tensor) -> Tensor:
        """``fc2(relu(fc1(tokens)))``, a part of the hidden values at a time."""
        parts = -(-self.fc1.out_features // _HIDDEN)
        total: Tensor = self.fc2.bias
        for into, shift, out in zip(
            self.fc1.weight.chunk(parts), self.fc1.bias.chunk(parts), self.fc2.weight.chunk(parts, 1), strict=True
        ):
            total = total + linear(torch.relu(linear(tokens, into, shift)), out)
        return total


class Decoder(nn.Module):
    """Everything behind the reduced activations."""

    def __init__(self, config: ClipSegConfig, towers: Towers) -> None:
        super().__init__()
        width, patch = config.reduce_dim, towers.patch
        self.reduces = nn.ModuleList(nn.Linear(towers.width, width) for _ in config.extract_layers)
        self.film_mul, self.film_add = (nn.Linear(towers.feature_width, width) for _ in range(2))
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in config.extract_layers)
        if config.complex_upsampling:
            side, half = patch // 4, width // 2
            self.upsampling: nn.Module = nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(width, half, side, side),
                nn.ReLU(),
                nn.ConvTranspose2d(half, 1, side, side),
            )
        else:
            self.upsampling = nn.ConvTranspose2d(width, 1, patch, patch)


class ClipSeg(WordSegmenter):
    """CLIPSeg on its towers.

    Args:
        towers: frozen.
        config: see :class:`ClipSegConfig`.

    Raises:
        TowersError: a configuration that makes no sense.
    """

    def __init__(self, towers: Towers, config: ClipSegConfig) -> None:
        super().__init__()
        check_config(towers, config)
        self.towers, self.config = towers.requires_grad_(False), config
        self.decoder = Decoder(config, towers)
        self.presence = Presence()

    def reduced(self, pixel_values: Tensor, *, all_layers: bool) -> tuple[tuple[Tensor, ...], Tensor]:
        """Run the image tower.

        Args:
            pixel_values: (C, 3, S, S).
            all_layers: else it ends at the deepest layer that the decoder reads.

        Returns:
            the reduced activations, (C, 1 + m, r) each, the deepest first; and the last tokens (C, 1 + m, d).
        """
        towers, wanted = self.towers, self.config.extract_layers
        tokens, found = towers.embed(pixel_values), dict[int, Tensor]()
        for layer in range(towers.layers if all_layers else max(wanted) + 1):
            tokens = towers.run_layers(tokens, layer, layer + 1)
            if layer in wanted:
                found[layer] = tokens
        deepest_first = [found[layer] for layer in reversed(wanted)]
        return tuple(reduce(one) for reduce, one in zip(self.decoder.reduces, deepest_first, strict=True)), tokens

    def encode_image(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Encode crops.

        Args:
            pixel_values: (C, 3, S, S).

        Returns:
            the reduced activations, (C, 1 + m, r) each, the deepest first; CLIP's own image features (C, f) and patch
            features (C, m, f), of unit norm.
        """
        reduced, tokens = self.reduced(pixel_values, all_layers=True)
        return *reduced, *self.towers.features(tokens)

    def encode_text(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (K, L) int64 -> projected texts (K, f), and the same at unit norm."""
        projected = self.towers.project_text(self.towers.text_tokens(token_ids))
        return projected, nn.functional.normalize(projected, dim=-1)

    def decode(
        self, reduced: tuple[Tensor, ...], text_tokens: Tensor, crop_index: Tensor, class_index: Tensor
    ) -> Tensor:
        """Run the decoder's layers for P pairs.

        Args:
            reduced: (C, 1 + m, r) each.
            text_tokens: (K, f), projected texts.
            crop_index, class_index: (P) int64.

        Returns:
            (P, m, r): its patches.
        """
        decoder = self.decoder
        scale, shift = (one(text_tokens).index_select(0, class_index) for one in (decoder.film_mul, decoder.film_add))
        tokens: Tensor | None = None
        for at, (one, layer) in enumerate(zip(reduced, decoder.layers, strict=True)):
            own = one.index_select(0, crop_index)
            tokens = own if tokens is None else own + tokens
            if at == self.config.conditional_layer:
                tokens = scale.unsqueeze(1) * tokens + shift.unsqueeze(1)
            tokens = layer(tokens)
        return cast(Tensor, tokens)[:, 1:]

    def upsample(self, patches: Tensor) -> Tensor:
        """Make mask logits (P, h, w) of patches (P, m, r)."""
        grid = self.towers.grid
        cells = patches.transpose(1, 2).reshape(patches.shape[0], -1, grid, grid)
        return cast(Tensor, self.decoder.upsampling(cells).squeeze(1))

    def trunk(
        self, reduced: tuple[Tensor, ...], text_tokens: Tensor, crop_index: Tensor, class_index: Tensor
    ) -> Tensor:
        """Mask logits (P, h, w) of P pairs; arguments as of :meth:`decode`."""
        return self.upsample(self.decode(reduced, text_tokens, crop_index, class_index))

    def forward(self, pixel_values: Tensor, text_tokens: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        """(C, 3, S, S), projected texts (K, f), (P), (P) -> mask logits (P, h, w)."""
        return self.trunk(self.reduced(pixel_values, all_layers=False)[0], text_tokens, crop_index, class_index)


def check_config(towers: Towers, config: ClipSegConfig) -> None:
    """Refuse what cannot be. TowersError says what and why."""
    layers = config.extract_layers
    if not layers or not all(0 <= one < towers.layers for one in layers):
        raise TowersError(
            f"CLIPSeg's extract_layers {list(layers)} must be layers of the image tower, 0 to {towers.layers - 1}."
        )
    if not 0 <= config.conditional_layer < len(layers):
        raise TowersError(
            f"CLIPSeg's conditional_layer {config.conditional_layer} is none of its {len(layers)} decoder layers, so "
            "no word would reach a mask."
        )
    if config.reduce_dim < 1 or config.reduce_dim % config.decoder_heads:
        raise TowersError(
            f"{config.decoder_heads} decoder heads do not divide CLIPSeg's reduce_dim {config.reduce_dim}."
        )
    if config.complex_upsampling and (towers.patch < 4 or config.reduce_dim < 2):
        raise TowersError(
            f"CLIPSeg's complex transposed convolution needs patches of 4 px and more and a reduce_dim of 2 and more, "
            f"and they are {towers.patch} and {config.reduce_dim}."
        )
