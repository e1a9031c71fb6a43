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
    batch, count, width = tokens.shape
    packed = nn.functional.linear(tokens, cast(Tensor, module.in_proj_weight), cast(Tensor, module.in_proj_bias))
    heads = packed.reshape(batch, count, 3, module.num_heads, width // module.num_heads).permute(2, 0, 3, 1, 4)
    query, key, value = heads[0], heads[1], heads[2]  # each (B, heads, n, d / heads)
    scores = (query * module.head_dim**-0.5) @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    mixed = torch.softmax(scores, dim=-1) @ value
    joined = mixed.transpose(1, 2).reshape(batch, count, width)
    return cast(Tensor, module.out_proj(joined))


def block(module: Any, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """One ``open_clip.transformer.ResidualAttentionBlock``: (B, n, d) -> (B, n, d)."""
    tokens = tokens + module.ls_1(attention(cast(nn.MultiheadAttention, module.attn), module.ln_1(tokens), mask))
    return cast(Tensor, tokens + module.ls_2(module.mlp(module.ln_2(tokens))))
