"""A picture after the image encoder, for new words later."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from clsclip_runtime.arrays import Arrays, DeviceArray, to_host
from clsclip_runtime.detectors import Detector
from clsclip_runtime.images import Picture
from clsclip_runtime.regions import Proposals


@dataclass(frozen=True, eq=False)
class PictureFeatures:
    """A picture after the image encoder: what all words share, so that new words cost only their own part.

    On a GPU the arrays stay there, as :class:`clsclip_runtime.backends.DeviceArray`, and take its memory for as long as
    the features live: 1 MiB for a ViT-B/16. ``to_host`` moves them, for one where thousands of pictures are kept.

    Attributes:
        picture: the upright RGB picture and its source.
        arrays: the image encoder's outputs, with one crop: ``stem_tokens`` (1, 1+m, d),
            ``image_features`` (1, f), ``patch_features`` (1, m, f), all float32; NumPy arrays, or device arrays with
            ``to_host()``. The latter two only of a segmenter that has a gate, or whose masks need them.
        fingerprint: of the bundle that made them; other bundles refuse them.
        timings: milliseconds of ``read`` and ``image``.
    """

    picture: Picture
    arrays: Arrays
    fingerprint: str
    timings: dict[str, float]
    _detected: list[tuple[Detector, float | None, Proposals]] = field(default_factory=list, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        width, height = self.picture.image.size
        return width, height

    @property
    def serves_gate(self) -> bool:
        """Whether a gate can be asked which words the picture shows."""
        return {"image_features", "patch_features"} <= set(self.arrays)

    def to_host(self) -> PictureFeatures:
        """The same features in host memory, for any engine of the same bundle; themselves if they are there.

        Raises:
            BackendError: CUDA fails.
        """
        if not any(isinstance(array, DeviceArray) for array in self.arrays.values()):
            return self
        return replace(self, arrays={name: to_host(array) for name, array in self.arrays.items()})

    def detected_by(self, detector: Detector, confidence: float | None = None) -> Proposals:
        """What a detector finds in the picture; it is kept until the detector is asked with another bound.

        Args:
            detector: finds it.
            confidence: boxes whose score is not above this are dropped; None is the detector's own bound.

        Raises:
            DetectorError, BackendError: it failed.
        """
        for known, least, found in self._detected:
            if known is detector and least == confidence:
                return found
        found = detector.batch([np.asarray(self.picture.image)], confidence)[0]
        others = [one for one in self._detected if one[0] is not detector]
        self._detected[:] = [*others, (detector, confidence, found)]
        return found
