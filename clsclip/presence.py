"""Fitting the presence head: a logistic on CLIP's own evidence, from captions alone, and its threshold."""

from __future__ import annotations

import torch
from torch import Tensor

from clsclip.model import ClsClip
from clsclip.pretrain import normalise
from clsclip.stickers.dataset import StickerPictures, stack_pixels
from clsclip.stickers.vocabulary import nouns
from clsclip.train import PROMPT
from clsclip.training.presence import fit_head


def presence_evidence(model: ClsClip, pictures: StickerPictures, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Evidence (B, K, 2) and truth (B, K) bool of every noun for every picture."""
    with torch.no_grad():
        _, text_features = model.encode_words([PROMPT.format(noun.name) for noun in nouns()])
        evidence = []
        shown = []
        for start in range(0, len(pictures), batch):
            made = [pictures[index] for index in range(start, min(start + batch, len(pictures)))]
            _, image, patches = model.encode_image(normalise(stack_pixels(made), model.towers.image))
            evidence.append(model.presence.evidence(image, patches, text_features))
            shown.append(torch.tensor([[noun.index in picture.nouns for noun in nouns()] for picture in made]))
    return torch.cat(evidence), torch.cat(shown)


def fit_presence(model: ClsClip, pictures: StickerPictures, seed: int = 0) -> dict[str, float]:
    """Fit the head in place, with as many absent as present words, and choose the threshold.

    The threshold maximises (present words kept) - (absent words kept) on the same pictures.

    Returns:
        ``threshold``, and the two shares at it: ``present_kept`` and ``absent_kept``.
    """
    evidence, shown = presence_evidence(model, pictures)
    return fit_head(model.presence, evidence, shown, seed)
