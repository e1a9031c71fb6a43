"""What one call may take: memory, pairs, pixels, and how many pairs fit."""

from __future__ import annotations

from dataclasses import dataclass, fields

from clsclip_runtime.bundle.specs import MemorySpec
from clsclip_runtime.errors import OptionError
from clsclip_runtime.images import MAX_PIXELS
from clsclip_runtime.renamed import tells_new_names

_FLOAT_BYTES = 4
_HEAD_WIDTH = 32
_TEXT_ROWS = 256


@tells_new_names
@dataclass(frozen=True)
class Limits:
    """Bounds of every call of a segmenter.

    Attributes:
        memory_mb: of the activations of one call of a graph, MiB. What does not fit goes through in several calls.
            Weights, images and masks come on top.
        pairs_per_call: of the pairs, and of the crops, of one call, for engines with a fixed largest shape; None is as
            many as fit into ``memory_mb``.
        result_mb: of what the results of a call hold, MiB: the logits of all pairs, and masks that are asked for all at
            once. What is larger is refused before it is made.
        max_pixels: of an image; larger ones are refused before they are decoded.

    Raises:
        OptionError: a value is no whole number of 1 or more.
    """

    memory_mb: int = 1024
    pairs_per_call: int | None = None
    result_mb: int = 2048
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "pairs_per_call":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{field.name} must be a whole number of 1 or more, and it is {value!r}")

    def crops(self, memory: MemorySpec) -> int:
        """Crops of one call of the image encoder, at least one."""
        return self._at_most(fitting(self.memory_mb, memory.crop_bytes))

    def pairs(self, memory: MemorySpec) -> int:
        """Pairs of one call of the trunk, at least one."""
        return self._at_most(fitting(self.memory_mb, memory.pair_bytes))

    def presence_words(self, memory: MemorySpec, crops: int) -> int:
        """Words of one call of the presence graph with this number of crops, at least one."""
        return fitting(self.memory_mb, crops * memory.presence_pair_bytes)

    def check_result(self, what: str, size: int, instead: str) -> None:
        """Refuse what would hold more than ``result_mb`` MiB, before it is made.

        Args:
            what: for the message, such as ``1,000 masks of 4000x3000 pixels``.
            size: its bytes.
            instead: what to do, without a full stop.

        Raises:
            OptionError: it is larger.
        """
        if size > self.result_mb << 20:
            raise OptionError(
                f"{what} would take {size / (1 << 20):,.0f} MiB, and results may hold {self.result_mb:,}. "
                f"{instead}, or raise the limit: limits=Limits(result_mb=...)"
            )

    def _at_most(self, fit: int) -> int:
        return fit if self.pairs_per_call is None else min(fit, self.pairs_per_call)


def fitting(memory_mb: int, item_bytes: int) -> int:
    """How many items fit into ``memory_mb`` MiB, at least one."""
    return max(1, (memory_mb << 20) // max(1, item_bytes))


def words_per_call(memory_mb: int, word_bytes: int, templates: int) -> int:
    """As many words as the text encoder takes at a time, at least one, at most 256 rows of tokens."""
    return max(1, min(_TEXT_ROWS, fitting(memory_mb, word_bytes)) // templates)


def transformer_bytes(tokens: int, width: int, height_out: int = 1, width_out: int = 1) -> int:
    """Estimate the peak of activations in bytes for one sequence in a transformer with a mask decoder.

    4 * (20*T*d + 2*H*T*T + h*w*d/2), with T tokens of width d, H attention heads and h x w logits:
    a transformer layer holds its input, two normalized copies, Q, K, V, the attention's output and three
    4*d wide arrays of its MLP (GELU needs a copy); attention scores before and after softmax; and the decoder's
    last feature map, d/4 wide, before and after its activation. Heads are taken as narrow (32), which errs on the
    large side. Measured peaks are 77 to 87 % of this (ONNX Runtime on the CPU, d of 128 and 256).
    """
    heads = -(-width // _HEAD_WIDTH)
    values = 20 * tokens * width + 2 * heads * tokens * tokens + height_out * width_out * max(1, width // 2)
    return _FLOAT_BYTES * values


def clsclip_memory(*, size: int, patch: int, width: int, mask: tuple[int, int], context: int, text: int) -> MemorySpec:
    """Estimate what the graphs of a ClsCLIP model take; the exporter states it in the manifest.

    Args:
        size: side of the encoder's input, pixels.
        patch: side of a patch, pixels.
        width: of the image encoder's tokens.
        mask: (height, width) of the logits.
        context: tokens of a word.
        text: width of the text encoder's tokens.
    """
    tokens = 1 + (size // patch) ** 2
    pixels = 2 * 3 * size**2 * _FLOAT_BYTES
    return MemorySpec(
        crop_bytes=pixels + transformer_bytes(tokens, width),
        pair_bytes=transformer_bytes(tokens, width, *mask),
        # The patches' cosines, and three copies of them.
        presence_pair_bytes=_FLOAT_BYTES * 4 * tokens,
        word_bytes=transformer_bytes(context, max(1, text)),
    )
