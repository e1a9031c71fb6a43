"""The architectures that can be exported, each found by its model."""

from __future__ import annotations

from clsclip.base import WordSegmenter
from clsclip.clipseg import ClipSeg
from clsclip.model import ClsClip
from clsclip.training_free import TrainingFree
from clsclip_export.architectures.base import Architecture
from clsclip_export.architectures.clipseg import ClipSegArchitecture
from clsclip_export.architectures.clsclip import ClsClipArchitecture
from clsclip_export.architectures.training_free import TrainingFreeArchitecture

ARCHITECTURES: dict[type[WordSegmenter], type[Architecture]] = {
    ClsClip: ClsClipArchitecture,
    ClipSeg: ClipSegArchitecture,
    TrainingFree: TrainingFreeArchitecture,
}


def architecture_of(model: WordSegmenter) -> Architecture:
    """See a model as the export does.

    Raises:
        TypeError: no architecture knows such models.
    """
    for kind, architecture in ARCHITECTURES.items():
        if isinstance(model, kind):
            return architecture(model)
    raise TypeError(f"{type(model).__name__} is no model that can be exported")
