"""Whether an image is far from what a model knows, by a line through its own features that the bundle's author drew."""

from __future__ import annotations

import numpy as np

from clsclip_runtime._types import Doubles, Floats
from clsclip_runtime.arrays import Arrays, to_host
from clsclip_runtime.bundle.specs import DomainSpec


def is_far(domain: DomainSpec, features: Arrays, row: int) -> bool:
    """Whether one whole image looks unlike all that the model was trained on.

    Args:
        domain: of the bundle.
        features: the image encoder's outputs, (C, ...) each.
        row: which of the C crops.
    """
    test = domain.test
    if test is None or not test.weights.keys() <= features.keys():
        return False
    parts = [pooled(to_host(features[name])[row]) @ np.array(weights) for name, weights in test.weights.items()]
    return float(sum(parts)) + test.bias > 0


def pooled(feature: Floats) -> Doubles:
    """The mean and the standard deviation of a feature over its places: (..., d) float32 -> (2 d,) float64."""
    places = feature.reshape(-1, feature.shape[-1]).astype(np.float64)
    return np.concatenate([places.mean(axis=0), places.std(axis=0)])


def sentence(domain: DomainSpec) -> str:
    """What the user is told of an image that is far."""
    return (
        f"this image is unlike what the model knows ({domain.name}: {domain.description}). Its masks mean little here; "
        "use a model that was trained on such images"
    )
