"""Masks without a decoder: patch-word cosines of CLIP alone, one threshold for all. What a decoder has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clsclip.evaluation import CheckpointPredictor, Prediction
from clsclip.training_free import TrainingFree
from clsclip_runtime.masks.upsampling import upsample

THRESHOLDS = tuple(round(0.02 * step, 2) for step in range(1, 48))


class CosinePredictor:
    """The frozen towers of a checkpoint, and nothing that was trained on a mask.

    Args:
        checkpoint: read for its towers and their preprocessing.
        method: how the last layer runs, one of :data:`clsclip.training_free.METHODS`.
        winner: a pixel belongs to the asked word of the highest cosine alone.
        threshold: least cosine of a pixel that belongs to a word; see :meth:`fit`.
    """

    def __init__(
        self, checkpoint: CheckpointPredictor, winner: bool, threshold: float = 0.5, method: str = "cosine"
    ) -> None:
        self.checkpoint, self.winner, self.threshold = checkpoint, winner, threshold
        self.name = f"{method}, no decoder" + (", best word wins" if winner else "")
        self._model = TrainingFree(checkpoint.model.towers, method).eval()

    @torch.no_grad()
    def cosines(self, image: NDArray[np.uint8], words: Sequence[str]) -> NDArray[np.float32]:
        """Patch-word cosines at the picture's size, (K, H, W); with ``winner`` -1 where another word is higher."""
        _, patches = self._model.encode_image(self.checkpoint.pixel_values(image))
        features = self.checkpoint.model.towers.text_features(self.checkpoint.text_tokens(words))
        grid = round(patches.shape[1] ** 0.5)
        low = (patches[0] @ features.T).T.reshape(len(words), grid, grid).numpy()
        high = upsample(np.ascontiguousarray(low), (image.shape[1], image.shape[0]))
        if self.winner:
            high[high < high.max(axis=0)] = -1
        return high

    def predict(
        self, image: NDArray[np.uint8], words: Sequence[str], mask_threshold: float | None = None
    ) -> Prediction:
        """Masks of the words; ``mask_threshold`` has no meaning for a cosine and is not read."""
        return Prediction(self.cosines(image, words) > self.threshold)

    def fit(self, scenes: Iterable[tuple[NDArray[np.uint8], Sequence[str], Sequence[NDArray[np.uint8]]]]) -> None:
        """Take the threshold with the best mean IoU over pairs; scenes are (picture, words, masks of the words)."""
        overlaps = np.zeros(len(THRESHOLDS))
        for image, words, masks in scenes:
            values = self.cosines(image, words)
            for at, threshold in enumerate(THRESHOLDS):
                for value, mask in zip(values, masks, strict=True):
                    marked, true = value > threshold, mask > 0
                    overlaps[at] += np.count_nonzero(marked & true) / max(1, np.count_nonzero(marked | true))
        self.threshold = THRESHOLDS[int(overlaps.argmax())]
