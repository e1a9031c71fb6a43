"""The runtime's own preprocessing, for the towers of a model: one preprocessing in training, evaluation and use."""

from __future__ import annotations

from clsclip.base import WordSegmenter
from clsclip_runtime.bundle.specs import ImageSpec


def image_spec(model: WordSegmenter) -> ImageSpec:
    """How pictures become the encoder's input: what clsclip-export writes into the manifest."""
    image = model.towers.image
    return ImageSpec(image.size, image.mean, image.std, "squash", image.interpolation)
