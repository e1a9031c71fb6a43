"""Controls: the same test with something broken on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import MaskDataset, prompts_of
from clsclip.errors import DataError
from clsclip.evaluation.evaluate import Method
from clsclip.evaluation.predictors import Prediction, Predictor, Prompted


class ShuffledWords:
    """A model that is always asked another word: what it still gets right, it gets right without its word.

    Args:
        predictor: the model.
        words: all words of the data; every one is replaced by another, the same on every call.
        seed: of the replacement.

    Raises:
        DataError: there are fewer than two words.
    """

    def __init__(self, predictor: Predictor, words: Sequence[str], seed: int = 0) -> None:
        if len(words) < 2:
            raise DataError("Words can be shuffled only where there are two or more.")
        order = [words[int(at)] for at in np.random.default_rng(seed).permutation(len(words))]
        self.predictor = predictor
        self.instead = dict(zip(order, order[1:] + order[:1], strict=True))
        self.name = f"{predictor.name}, words shuffled"

    def predict(
        self, image: NDArray[np.uint8], words: Sequence[str], mask_threshold: float | None = None
    ) -> Prediction:
        """Return the masks of the other words."""
        return self.predictor.predict(image, [self.instead[word] for word in words], mask_threshold)


def prompted(method: Method, data: MaskDataset) -> Method:
    """Return the same method, asked the prompts of classes that have others than their name."""
    prompts = prompts_of(data)
    if method.predictor is None or not prompts:
        return method
    return replace(method, predictor=Prompted(method.predictor, prompts))


def shuffled(method: Method, words: Sequence[str]) -> Method:
    """Return the same method asked other words; its regions, where it has some, are still those of the right word.

    Raises:
        DataError: it has no predictor to mislead, or there are fewer than two words.
    """
    if method.predictor is None:
        raise DataError("Boxes alone ask no words, so there are none to shuffle.")
    return replace(method, predictor=ShuffledWords(method.predictor, words))
