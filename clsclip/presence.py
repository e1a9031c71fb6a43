"""Fitting the presence head: a logistic on CLIP's own evidence, from captions alone, and its threshold."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from clsclip.model import ClsClip
from clsclip.pretrain import normalise
from clsclip.stickers.dataset import StickerPictures, stack_pixels
from clsclip.stickers.vocabulary import nouns
from clsclip.train import PROMPT


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
    rng = np.random.default_rng(seed)
    present = torch.nonzero(shown.flatten())[:, 0]
    absent = torch.nonzero(~shown.flatten())[:, 0]
    absent = absent[torch.from_numpy(rng.choice(len(absent), len(present), replace=False))]
    asked = torch.cat([present, absent])
    inputs, truth = evidence.reshape(-1, 2)[asked], shown.flatten()[asked].float()
    head = model.presence
    weights = [head.weight, head.bias]
    optimiser = torch.optim.LBFGS(weights, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = binary_cross_entropy_with_logits((inputs * head.weight).sum(dim=-1) + head.bias, truth)
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        scores = torch.sigmoid((inputs * head.weight).sum(dim=-1) + head.bias)
    grid = torch.linspace(0.02, 0.98, 97)
    kept = [
        (float((scores[truth > 0] >= level).float().mean()), float((scores[truth == 0] >= level).float().mean()))
        for level in grid
    ]
    best = max(range(len(grid)), key=lambda index: kept[index][0] - kept[index][1])
    return {"threshold": round(float(grid[best]), 2), "present_kept": kept[best][0], "absent_kept": kept[best][1]}
