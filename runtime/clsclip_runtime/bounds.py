"""What a call of a segmenter may take."""

from __future__ import annotations

from dataclasses import dataclass, fields

from clsclip_runtime.errors import OptionError
from clsclip_runtime.images import MAX_PIXELS
from clsclip_runtime.manifest import Manifest
from clsclip_runtime.memory import RESULT_MB, crops_per_call, pairs_per_call


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
