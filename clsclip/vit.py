"""One pre-norm transformer block, written out: the same operations train, export and can be inspected.

The weights stay in open_clip's modules. Attention is plain products and a softmax instead of PyTorch's fused
kernel, because the ONNX graph then holds only MatMul and Softmax, and because the fused kernel's bfloat16 backward
pass on CPUs takes twice as long.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


def attention(module: nn.MultiheadAttention, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Multi-head self-attention with the weights of ``module``.

    Args:
        module: self-attention with one packed input projection and biases.
        tokens: (B, n, d), already normalised.
        mask: (n, n) additive, or None.

    Returns:
        (B, n, d).
    """
    query, key, value = heads_of(module, tokens)
    scores = query @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    return joined(module, torch.softmax(scores, dim=-1) @ value)


def heads_of(module: nn.MultiheadAttention, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, scaled keys and values of normalised tokens (B, n, d), each (B, heads, n, d / heads).

    Three products and not one: cutting the result of one apart would copy it. Keys are scaled, and not queries, since
    OpenVINO transposes them apart from its attention anyway, in half the time where something lies between.
    """
    batch, count, width = tokens.shape
    weights = cast(Tensor, module.in_proj_weight).chunk(3)
    biases = cast(Tensor, module.in_proj_bias).chunk(3)
    query, key, value = (
        nn.functional.linear(tokens, weight, bias)
        .reshape(batch, count, module.num_heads, width // module.num_heads)
        .transpose(1, 2)
        for weight, bias in zip(weights, biases, strict=True)
    )
    return query, key * module.head_dim**-0.5, value


def joined(module: nn.MultiheadAttention, mixed: Tensor) -> Tensor:
    """The heads' mixed values (B, heads, n, d / heads), side by side and projected: (B, n, d)."""
    batch, heads, count, width = mixed.shape
    return cast(Tensor, module.out_proj(mixed.transpose(1, 2).reshape(batch, count, heads * width)))


def block(module: Any, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """One ``open_clip.transformer.ResidualAttentionBlock``: (B, n, d) -> (B, n, d)."""
    attended = attention(cast(nn.MultiheadAttention, module.attn), module.ln_1(tokens), mask)
    return after_attention(module, tokens, attended)


def after_attention(module: Any, tokens: Tensor, attended: Tensor) -> Tensor:
    """What a block does with its attention's output: (B, n, d), (B, n, d) -> (B, n, d)."""
    tokens = tokens + module.ls_1(attended)
    return cast(Tensor, tokens + module.ls_2(module.mlp(module.ln_2(tokens))))
