"""The photographs that scikit-image carries: real images that are there without a download."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

PHOTOGRAPHS = ("astronaut", "brick", "camera", "cell", "coins", "grass", "gravel", "hubble_deep_field", "moon")
"""Those that are packaged and show nothing of the sticker world's vocabulary (no cat, coffee, rocket, horse)."""


def photographs() -> list[npt.NDArray[np.uint8]]:
    """Give the photographs as RGB, at most 512 px a side; an empty list without scikit-image."""
    try:
        from skimage import data
    except ImportError:
        return []
    images = []
    for name in PHOTOGRAPHS:
        image = Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")
        image.thumbnail((512, 512))
        images.append(np.asarray(image))
    return images
