"""What one call may take: memory, pairs, pixels, and how many pairs fit."""

from __future__ import annotations

from dataclasses import dataclass, fields

from clsclip_runtime.bundle.specs import Manifest
from clsclip_runtime.errors import OptionError
from clsclip_runtime.images import MAX_PIXELS

RESULT_MB = 2048
"""MiB that a result may hold by default."""

_FLOAT_BYTES = 4
_HEAD_WIDTH = 32
_TEXT_ROWS = 256


def pair_bytes(tokens: int, width: int, height_out: int, width_out: int) -> int:
    """Estimated peak of activations in bytes for one (crop, class) pair in the trunk.

    4 * (20*T*d + 2*H*T*T + h*w*d/2), with T tokens of width d, H attention heads and h x w logits:
    a transformer layer holds its input, two normalised copies, Q, K, V, the attention's output and three
    4*d wide arrays of its MLP (GELU needs a copy); attention scores before and after softmax; and the decoder's
    last feature map, d/4 wide, before and after its activation. Heads are taken as narrow (32), which errs on the
    large side. Measured peaks are 77 to 87 % of this (ONNX Runtime on the CPU, d of 128 and 256).
    """
    heads = -(-width // _HEAD_WIDTH)
    values = 20 * tokens * width + 2 * heads * tokens * tokens + height_out * width_out * max(1, width // 2)
    return _FLOAT_BYTES * values


def check_result(what: str, size: int, result_mb: int, instead: str) -> None:
    """Refuse what would hold more than ``result_mb`` MiB, before it is made.

    Args:
        what: for the message, such as ``1,000 masks of 4000x3000 pixels``.
        size: its bytes.
        result_mb: the most that a result may hold.
        instead: what to do, without a full stop.

    Raises:
        OptionError: it is larger.
    """
    if size > result_mb << 20:
        raise OptionError(
            f"{what} would take {size / (1 << 20):,.0f} MiB, and results may hold {result_mb:,} (result_mb). "
            f"{instead}, or give Segmenter.load a larger result_mb"
        )


def gate_bytes(tokens: int) -> int:
    """Estimated peak in bytes for one (crop, word) pair in the gate: its patches' cosines, and three copies of them."""
    return _FLOAT_BYTES * 4 * tokens


def pairs_per_call(memory_mb: int, bytes_per_pair: int) -> int:
    """As many pairs as fit into ``memory_mb`` MiB, at least one."""
    return max(1, (memory_mb << 20) // max(1, bytes_per_pair))


def crops_per_call(memory_mb: int, manifest: Manifest) -> int:
    """As many crops as the image encoder takes at a time, at least one: a crop costs it what a pair costs the trunk.

    Bundles whose manifest does not state patch size and width are taken for large ones.
    """
    patch, width = (manifest.model.get(key) for key in ("patch_size", "width"))
    patch = patch if isinstance(patch, int) and patch > 0 else 14
    width = width if isinstance(width, int) and width > 0 else 1024
    tokens = 1 + (manifest.image.size // patch) ** 2
    pixels = 2 * 3 * manifest.image.size**2 * _FLOAT_BYTES
    return pairs_per_call(memory_mb, pixels + pair_bytes(tokens, width, 1, 1))


def words_per_call(memory_mb: int, context_length: int, width: int, templates: int) -> int:
    """As many words as the text encoder takes at a time, at least one, at most 256 rows of tokens."""
    rows = min(_TEXT_ROWS, pairs_per_call(memory_mb, pair_bytes(context_length, max(1, width), 1, 1)))
    return max(1, rows // templates)


@dataclass(frozen=True)
class Bounds:
    """See ``Segmenter.load``. OptionError for what is not a whole number of 1 or more.

    Attributes:
        memory_mb: of the activations of one call, MiB.
        pairs_per_call: of the pairs, and of the crops, of one call; None is as many as fit into ``memory_mb``.
        result_mb: of what the results of a call hold, MiB.
        max_pixels: of a picture.
    """

    memory_mb: int = 1024
    pairs_per_call: int | None = None
    result_mb: int = RESULT_MB
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "pairs_per_call":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{field.name} must be a whole number of 1 or more, and it is {value!r}")

    def pairs(self, bytes_per_pair: int) -> int:
        """Pairs of one call of the trunk, at least one."""
        return self._at_most(pairs_per_call(self.memory_mb, bytes_per_pair))

    def crops(self, manifest: Manifest) -> int:
        """Crops of one call of the image encoder, at least one."""
        return self._at_most(crops_per_call(self.memory_mb, manifest))

    def _at_most(self, fit: int) -> int:
        return fit if self.pairs_per_call is None else min(fit, self.pairs_per_call)
