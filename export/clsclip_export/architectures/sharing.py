"""Exact savings: what the exported trunk computes once a crop or once a word, and not once a pair.

In the first navigation layer the patch tokens are still the same for every word: only the [CLS] token is a word's.
Their queries, keys and values, and all of their attention to one another, are therefore computed once a crop. What a
word adds is one more key and value: of a patch's attention it takes the share

    s = sigmoid(q . k_word - log(sum over patches of exp(q . k_patch)))

and the patch's mixed value becomes (1 - s) * mixed + s * v_word: the softmax over all keys, written another way.
benchmarks/presence/README.md has what this and other savings were worth.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clsclip.model import ClsClip
from clsclip.vit import after_attention, heads_of, joined


def shared_trunk(
    model: ClsClip,
    stem: Tensor,
    patch_features: Tensor,
    text_tokens: Tensor,
    crop_index: Tensor,
    class_index: Tensor,
    detail: Tensor | None = None,
) -> Tensor:
    """What :meth:`clsclip.model.ClsClip.trunk` computes, from the same arguments: mask logits (P, h, w)."""
    first = model.stem_layers
    if str(first) not in model.maps:  # nothing is navigated: the trunk is the decoder
        return model.trunk(stem, patch_features, text_tokens, crop_index, class_index, detail)
    layer = model.towers.visual.transformer.resblocks[first]
    words = model.maps[str(first)](text_tokens).unsqueeze(1)
    tokens = first_navigated(layer, stem[:, 1:], words, crop_index, class_index)
    tokens = model.navigate(tokens, text_tokens.index_select(0, class_index), first + 1)
    return model.draw(tokens, stem, patch_features, text_tokens, crop_index, class_index, detail)


def first_navigated(layer: Any, patches: Tensor, words: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
    """The first navigation layer, for P pairs.

    Args:
        layer: an ``open_clip`` block.
        patches: (C, n, d), the stem's tokens without [CLS].
        words: (K, 1, d), in the place of [CLS].
        crop_index, class_index: (P) int64.

    Returns:
        (P, 1 + n, d).
    """
    query, key, value = heads_of(layer.attn, layer.ln_1(patches))  # (C, heads, n, d / heads)
    scores = query @ key.transpose(-2, -1)
    mixed, total = torch.softmax(scores, dim=-1) @ value, torch.logsumexp(scores, dim=-1, keepdim=True)
    word_query, word_key, word_value = (
        one.index_select(0, class_index) for one in heads_of(layer.attn, layer.ln_1(words))
    )
    pair_query, pair_key, pair_value, mixed, total = (
        one.index_select(0, crop_index) for one in (query, key, value, mixed, total)
    )
    share = torch.sigmoid(pair_query @ word_key.transpose(-2, -1) - total)
    of_patches = mixed + share * (word_value - mixed)
    of_word = torch.softmax(word_query @ torch.cat([word_key, pair_key], dim=2).transpose(-2, -1), dim=-1)
    of_word = of_word @ torch.cat([word_value, pair_value], dim=2)
    attended = joined(layer.attn, torch.cat([of_word, of_patches], dim=2))
    tokens = torch.cat([words.index_select(0, class_index), patches.index_select(0, crop_index)], dim=1)
    return after_attention(layer, tokens, attended)
