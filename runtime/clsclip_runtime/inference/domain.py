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
    if test is None or test.feature not in features:
        return False
    return score(to_host(features[test.feature])[row], np.array(test.weights), test.bias) > 0


def score(feature: Floats, weights: Doubles, bias: float) -> float:
    """The line's value for one image: above 0 it is far.

    Args:
        feature: (..., d) float32; all axes but the last are pooled.
        weights: (2 d,) float64, of the mean and of the standard deviation over the pooled axes.
        bias: added.
    """
    tokens = feature.reshape(-1, feature.shape[-1]).astype(np.float64)
    pooled = np.concatenate([tokens.mean(axis=0), tokens.std(axis=0)])
    return float(pooled @ weights + bias)


def sentence(domain: DomainSpec) -> str:
    """What the user is told of an image that is far."""
    return (
        f"this image is unlike what the model knows ({domain.name}: {domain.description}). Its masks mean little here; "
        "use a model that was trained on such images"
    )
