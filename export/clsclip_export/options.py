"""What a bundle is to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clsclip_export.profiles import Profile

if TYPE_CHECKING:
    from clsclip_export.detector import PreparedDetector


@dataclass(frozen=True)
class BundleOptions:
    """What a bundle is to be.

    Attributes:
        name: of the model, for people.
        precision: of the graphs, one of :data:`clsclip_export.precision.PRECISIONS`.
        profile: sizes of calls that it is checked at.
        detector: goes into the bundle too; None leaves it without.
        words: encoded into ``text_tokens.safetensors``; clean.
        text_encoder: False leaves text encoder and tokenizer out, so that ``words`` are all that the bundle knows.
    """

    name: str
    precision: str = "fp32"
    profile: Profile = field(default_factory=Profile)
    detector: PreparedDetector | None = None
    words: tuple[str, ...] = ()
    text_encoder: bool = True
