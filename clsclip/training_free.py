"""CLIP with no decoder: every patch is compared with the words, after a last layer that keeps patches apart.

CLIP's last layer gathers the image for [CLS], and so blurs its patches. Five ways to run it, none of them trained:

    cosine      as it is
    maskclip    each token keeps its own value, mixed with no other (Zhou, Loy and Dai, 2022)
    sclip       attention of queries to queries plus that of keys to keys (Wang, Mei and Yuille, 2023)
    clearclip   queries to queries; no residual, no MLP (Lan et al., 2024)
    naclip      keys to keys, nearer patches preferred by a Gaussian; no residual, no MLP (Hajimiri et al., 2024)

s(x)    = scale * cosine of a patch and a text
logit   = s(word) - log(sum of exp(s(b)) over the background prompts b)

So a word's mask hangs on no other word that is asked, sigmoid(logit) is its share in a softmax with the background, and
the largest logit of several words is the papers' argmax. A word that is itself a background prompt competes with the
others: its logit is log(p / (1 - p)) of its share p among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clsclip.base import WordSegmenter
from clsclip.errors import TowersError
from clsclip.model import Presence
from clsclip.towers import Towers
from clsclip.vit import after_attention, block, heads_of, joined
from clsclip_runtime.text.mending import fill_template

METHODS = ("cosine", "maskclip", "sclip", "clearclip", "naclip")

GAUSSIAN = 5.0
"""Standard deviation of ``naclip``'s Gaussian, in patches, as published."""

SAME = 0.998
"""Cosine above which a word is a background prompt itself: FP16 text encoders round by less, and other words differ
more."""

LEAST_OTHERS = 1e-6
"""Share that the others have at least of a word among the background prompts: its logit stays finite."""

# fmt: off
BACKGROUND = (
    "background", "sky", "cloud", "wall", "ceiling", "floor", "ground", "road", "pavement", "grass", "field", "tree",
    "leaves", "forest", "mountain", "hill", "rock", "sand", "snow", "water", "sea", "river", "building", "fence",
    "window", "curtain", "carpet", "shadow",
)
# fmt: on
"""What photographs show around the things that people ask for."""

TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a photo of a small {}.",
    "a photo of a large {}.",
    "there is a {} in the scene.",
)


class TrainingFree(WordSegmenter):
    """Towers, a way to run their last layer, and background prompts.

    Args:
        towers: frozen.
        method: one of :data:`METHODS`.
        background: prompts that words compete with.
        templates: of words and of background prompts.

    Attributes:
        scale: CLIP's own temperature, a number.

    Raises:
        TowersError: the method is unknown, or there is no background.
    """

    bias: Tensor
    background_features: Tensor

    def __init__(
        self,
        towers: Towers,
        method: str,
        background: Sequence[str] = BACKGROUND,
        templates: Sequence[str] = TEMPLATES,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise TowersError(f"Unknown method {method!r}; known: {', '.join(METHODS)}.")
        if not background:
            raise TowersError("Without background prompts every pixel would belong to a word. Give at least one.")
        self.towers, self.method = towers.requires_grad_(False), method
        self.background, self.templates = tuple(background), tuple(templates)
        self.scale = float(towers.logit_scale.detach().exp())  # here, since an exporter cannot follow it into a number
        self.presence = Presence()
        bias = neighborhood(towers.grid) if method == "naclip" else torch.zeros(())
        self.register_buffer("bias", bias, persistent=False)
        with torch.no_grad():
            features = self.text_features_of(self.background)
        self.register_buffer("background_features", features, persistent=False)

    def text_features_of(self, words: Sequence[str]) -> Tensor:
        """Words -> (K, f) of unit norm, the mean over the templates."""
        rows = [
            self.encode_text(self.towers.tokenize([fill_template(one, word) for word in words]))[0]
            for one in self.templates
        ]
        return normalize(torch.stack(rows).mean(dim=0), dim=-1)

    def encode_text(self, token_ids: Tensor) -> tuple[Tensor]:
        """Token ids (K, L) int64 -> text features (K, f) of unit norm."""
        return (self.towers.text_features(self.towers.text_tokens(token_ids)),)

    def encode_image(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Encode crops.

        Args:
            pixel_values: (C, 3, S, S).

        Returns:
            image features (C, f) of CLIP's own path, and patch features (C, m, f) of the method; of unit norm.
        """
        towers = self.towers
        tokens = towers.run_layers(towers.embed(pixel_values), 0, towers.layers - 1)
        layer = towers.visual.transformer.resblocks[-1]
        if self.method == "cosine":
            return towers.features(block(layer, tokens))
        heads = heads_of(cast(nn.MultiheadAttention, layer.attn), cast(Tensor, layer.ln_1(tokens)))
        image = towers.features(first_token(layer, tokens, heads))[0]
        return image, towers.features(self.last_layer(layer, tokens, heads))[1]

    def last_layer(self, layer: nn.Module, tokens: Tensor, heads: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Run the last layer in the method's way.

        Args:
            layer: an ``open_clip`` block.
            tokens: (C, 1 + m, d).
            heads: queries, scaled keys and values of all tokens, (C, heads, 1 + m, d / heads) each.

        Returns:
            (C, 1 + m, d).
        """
        attention = cast(nn.MultiheadAttention, layer.attn)
        query, key, value = heads
        # Keys are scaled already: what they give among themselves is scaled twice, and queries not at all.
        scale = attention.head_dim**-0.5
        if self.method == "maskclip":
            return after_attention(layer, tokens, joined(attention, value))
        queries = (query * scale) @ query.transpose(-2, -1)
        if self.method == "clearclip":
            return joined(attention, torch.softmax(queries, dim=-1) @ value)
        # Divided after the product: ONNX Runtime 1.32 makes no valid graph of one operand that is scaled twice.
        keys = (key @ key.transpose(-2, -1)) / scale
        if self.method == "naclip":
            return joined(attention, torch.softmax(keys + self.bias, dim=-1) @ value)
        mixed = (torch.softmax(queries, dim=-1) + torch.softmax(keys, dim=-1)) @ value
        return after_attention(layer, tokens, joined(attention, mixed))

    def trunk(self, patch_features: Tensor, text_features: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        """Masks of P (crop, word) pairs, written out; :mod:`clsclip_export` has the form with one product.

        Args:
            patch_features: (C, m, f).
            text_features: (K, f).
            crop_index, class_index: (P) int64.

        Returns:
            mask logits (P, g, g).
        """
        patches, words = patch_features.index_select(0, crop_index), text_features.index_select(0, class_index)
        own = self.scale * (patches * words.unsqueeze(1)).sum(dim=-1)
        others = torch.logsumexp(self.scale * (patches @ self.background_features.T), dim=-1)
        same = (words @ self.background_features.T).amax(dim=1, keepdim=True) >= SAME
        grid = self.towers.grid
        return against(own - others, same).reshape(-1, grid, grid)

    def forward(self, pixel_values: Tensor, text_features: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        """(C, 3, S, S), (K, f), (P), (P) -> mask logits (P, g, g)."""
        return self.trunk(self.encode_image(pixel_values)[1], text_features, crop_index, class_index)


def against(shares: Tensor, same: Tensor) -> Tensor:
    """Logits of words, from the logarithms of their shares; ``same`` says which words are among the background."""
    among = torch.clamp(shares, max=0.0)
    # An engine's exp of 0 may be a little more than 1, and what is left of the others a little less than nothing.
    others = torch.log(torch.relu(1 - torch.exp(among)) + LEAST_OTHERS)
    return torch.where(same, among - others, shares)


def first_token(layer: nn.Module, tokens: Tensor, heads: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """An ``open_clip`` block for [CLS] alone: (C, 1, d); arguments as of :meth:`TrainingFree.last_layer`."""
    attention = cast(nn.MultiheadAttention, layer.attn)
    query, key, value = heads
    mixed = torch.softmax(query[:, :, :1] @ key.transpose(-2, -1), dim=-1) @ value
    return after_attention(layer, tokens[:, :1], joined(attention, mixed))


def neighborhood(grid: int) -> Tensor:
    """What ``naclip`` adds to attention: exp(-d^2 / (2 * 5^2)) for patches d apart, 0 for [CLS]; (1 + m, 1 + m)."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=-1).double()
    squared = (places[:, None] - places[None]).square().sum(dim=-1)
    near = torch.exp(squared / (-2 * GAUSSIAN**2)).float()
    return nn.functional.pad(near, (1, 0, 1, 0))
