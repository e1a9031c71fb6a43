"""A picture after the image encoder, for new words later."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clsclip_runtime.backends import Arrays
from clsclip_runtime.detectors import Detector
from clsclip_runtime.images import Picture
from clsclip_runtime.regions import Proposals


@dataclass(frozen=True, eq=False)
class PictureFeatures:
    """A picture after the image encoder: what all words share, so that new words cost only their own part.

    Attributes:
        picture: the upright RGB picture and its source.
        arrays: the image encoder's outputs, with one crop: ``stem_tokens`` (1, 1+m, d),
            ``image_features`` (1, f), ``patch_features`` (1, m, f), all float32.
        fingerprint: of the bundle that made them; other bundles refuse them.
        timings: milliseconds of ``read`` and ``image``.
    """

    picture: Picture
    arrays: Arrays
    fingerprint: str
    timings: dict[str, float]
    _detected: list[tuple[Detector, Proposals]] = field(default_factory=list, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        width, height = self.picture.image.size
        return width, height

    def detected_by(self, detector: Detector) -> Proposals:
        """What a detector finds in the picture; it runs once, whatever is asked of the picture later.

        Raises:
            DetectorError, BackendError: it failed.
        """
        for known, found in self._detected:
            if known is detector:
                return found
        found = Proposals.of_detector(detector, [np.asarray(self.picture.image)])[0]
        self._detected.append((detector, found))
        return found
