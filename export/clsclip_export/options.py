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
        tiles_presence: least presence of a class in a tile; None takes the ``tiles`` of the checkpoint's provenance.
    """

    name: str
    precision: str = "fp32"
    profile: Profile = field(default_factory=Profile)
    detector: PreparedDetector | None = None
    words: tuple[str, ...] = ()
    text_encoder: bool = True
    tiles_presence: float | None = None


@dataclass(frozen=True)
class Published:
    """Published weights to export, with nothing trained here: CLIPSeg's, or CLIP's alone.

    Attributes:
        clipseg: folder or hub name; None for CLIP alone.
        training_free: how CLIP's last layer runs, one of :data:`clsclip.training_free.METHODS`; None for CLIPSeg.
        towers: folder or open_clip name of CLIP's towers.
        pretrained: weights of ``towers``.
        activation, mean_std: of the towers, where a weights file does not tell.
        image_size: pixels a side; None keeps what the weights come with.
        background: prompts that words compete with; none is the usual ones.
        templates: prompts of a word; none is the usual ones.
        license: of the weights; None takes what their card says.
        name: of the model; None takes the bundle's file name.
        precision: of the graphs: fp32, fp16 or bf16.
    """

    clipseg: str | None = None
    training_free: str | None = None
    towers: str | None = None
    pretrained: str | None = None
    activation: str | None = None
    mean_std: str | None = None
    image_size: int | None = None
    background: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    license: str | None = None
    name: str | None = None
    precision: str = "fp32"
