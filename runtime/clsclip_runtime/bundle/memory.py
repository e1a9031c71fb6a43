"""How much memory graphs of transformers take: the figures that a manifest's ``memory`` section states.

Who writes a bundle estimates them. The runtime reads them and knows nothing of the architecture.
"""

from __future__ import annotations

_FLOAT_BYTES = 4
_HEAD_WIDTH = 32


def pair_bytes(tokens: int, width: int, height_out: int, width_out: int) -> int:
    """Estimate the peak of activations in bytes for one (crop, class) pair in the trunk.

    4 * (20*T*d + 2*H*T*T + h*w*d/2), with T tokens of width d, H attention heads and h x w logits:
    a transformer layer holds its input, two normalized copies, Q, K, V, the attention's output and three
    4*d wide arrays of its MLP (GELU needs a copy); attention scores before and after softmax; and the decoder's
    last feature map, d/4 wide, before and after its activation. Heads are taken as narrow (32), which errs on the
    large side. Measured peaks are 77 to 87 % of this (ONNX Runtime on the CPU, d of 128 and 256).
    """
    heads = -(-width // _HEAD_WIDTH)
    values = 20 * tokens * width + 2 * heads * tokens * tokens + height_out * width_out * max(1, width // 2)
    return _FLOAT_BYTES * values


def crop_bytes(size: int, tokens: int, width: int) -> int:
    """Estimate the peak in bytes for one crop of size x size pixels in the image encoder, T tokens of width d.

    A crop costs the encoder what a pair costs the trunk, and its pixels twice.
    """
    return 2 * 3 * size**2 * _FLOAT_BYTES + pair_bytes(tokens, width, 1, 1)


def presence_pair_bytes(tokens: int) -> int:
    """Estimate the peak in bytes for one (crop, class) in presence.onnx: its patches' cosines, and three copies."""
    return _FLOAT_BYTES * 4 * tokens


def word_bytes(context_length: int, width: int) -> int:
    """Estimate the peak in bytes for one row of token ids in the text encoder, whose layers are width wide."""
    return pair_bytes(context_length, max(1, width), 1, 1)
