"""An image after the image encoder, for new words later."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from clsclip_runtime.arrays import Arrays, DeviceArray, to_host
from clsclip_runtime.detectors import Detector
from clsclip_runtime.images import DecodedImage
from clsclip_runtime.regions import Proposals


@dataclass(frozen=True, eq=False, repr=False)
class ImageFeatures:
    """An image after the image encoder: what all words share, so that new words cost only their own part.

    On a GPU the arrays stay there, as :class:`clsclip_runtime.arrays.DeviceArray`, and take its memory for as long as
    the features live: 1 MiB for a ViT-B/16. ``to_host`` moves them, for one where thousands of images are kept.

    Attributes:
        image: the upright RGB image and its source.
        arrays: the features that the bundle's manifest lists, with one crop: (1, ...) float32; NumPy arrays, or device
            arrays with ``to_host()``. Those that only presence reads are missing where it is not asked.
        fingerprint: of the bundle that made them; other bundles refuse them.
        timings: milliseconds of ``read`` and ``image``.
    """

    image: DecodedImage
    arrays: Arrays
    fingerprint: str
    timings: dict[str, float]
    _detected: list[tuple[Detector, float | None, Proposals]] = field(default_factory=list, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the image in pixels."""
        return self.image.size

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, without the image."""
        return sum(array.nbytes for array in self.arrays.values())

    def to_host(self) -> ImageFeatures:
        """Return the same features in host memory, for any backend of the same bundle; themselves if they are there.

        Raises:
            BackendError: CUDA fails.
        """
        if not any(isinstance(array, DeviceArray) for array in self.arrays.values()):
            return self
        return replace(self, arrays={name: to_host(array) for name, array in self.arrays.items()})

    def detected_by(self, detector: Detector, confidence: float | None = None) -> Proposals:
        """Return what a detector finds in the image; it is kept until the detector is asked with another bound.

        Args:
            detector: finds it.
            confidence: boxes whose score is not above this are dropped; None is the detector's own bound.

        Raises:
            DetectorError, BackendError: it failed.
        """
        for known, least, found in self._detected:
            if known is detector and least == confidence:
                return found
        found = detector.batch([np.asarray(self.image.image)], confidence)[0]
        others = [one for one in self._detected if one[0] is not detector]
        self._detected[:] = [*others, (detector, confidence, found)]
        return found

    def __repr__(self) -> str:
        """Short: no arrays."""
        width, height = self.size
        return f"ImageFeatures({self.image.source!r}, {width}x{height}, {', '.join(self.arrays)})"
