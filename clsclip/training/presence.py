"""Fitting the presence head: a logistic on CLIP's own evidence, from which words pictures show, and its threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from clsclip.data.base import MaskDataset, possible, trained_words
from clsclip.errors import DataError
from clsclip.model import ClsClip, Presence
from clsclip.preprocessing import image_spec
from clsclip.training.pairs import READING_ERRORS, check_image
from clsclip_runtime.images import preprocess
from clsclip_runtime.text.mending import fill_template


def fit_presence(
    model: ClsClip,
    dataset: MaskDataset,
    words: Sequence[int],
    images: Sequence[int],
    *,
    template: str = "a photo of a {}",
    seed: int = 0,
    batch: int = 16,
    progress: Callable[[int], None] | None = None,
    strict: bool = False,
) -> dict[str, float]:
    """Fit the presence head in place on what pictures show; no mask is read.

    Args:
        model: its towers are asked, its presence head is changed.
        dataset: training pictures, never the test's.
        words: class ids that may be asked: the seen ones.
        images: indices of training pictures; those that cannot be read are passed over.
        template: prompt with one {} for the word.
        seed: of the choice of absent words.
        batch: pictures a pass.
        progress: told after every pass how many pictures are done.
        strict: fail where a picture cannot be read.

    Returns:
        see :func:`fit_head`.

    Raises:
        DataError: no picture, no word, or no present and absent words to learn from.
    """
    if not images or not words:
        raise DataError("The presence head needs at least one picture and one word.")
    device = model.presence.bias.device
    spec = image_spec(model)
    evidence, shown = [], []
    with torch.no_grad():
        features = model.encode_words([fill_template(template, word) for word in trained_words(dataset, words)])[1]
        for start in range(0, len(images), batch):
            part, pixels = [], []
            for index in images[start : start + batch]:
                try:
                    image = check_image(dataset.image(index), dataset.key(index))
                except READING_ERRORS:
                    if strict:
                        raise
                    continue
                part.append(index)
                pixels.append(preprocess(Image.fromarray(image), spec))
            if part:
                _, pooled, patches, *_ = model.encode_image(torch.from_numpy(np.stack(pixels)).to(device))
                evidence.append(model.presence.evidence(pooled, patches, features))
                shown.append(torch.tensor([[word in possible(dataset, index) for word in words] for index in part]))
            if progress is not None:
                progress(min(start + batch, len(images)))
    if not evidence:
        raise DataError("The presence head cannot be fitted: none of its pictures can be read.")
    return fit_head(model.presence, torch.cat(evidence), torch.cat(shown).to(device), seed)


def fit_head(head: Presence, evidence: Tensor, shown: Tensor, seed: int = 0) -> dict[str, float]:
    """Fit the head in place, with as many absent as present words, and choose the threshold.

    The threshold maximises (present words kept) - (absent words kept) on the same pictures.

    Args:
        head: changed in place.
        evidence: (B, K, 2).
        shown: (B, K) bool, does picture b show word k.
        seed: of the choice of absent words.

    Returns:
        ``threshold``, and the two shares at it: ``present_kept`` and ``absent_kept``.

    Raises:
        DataError: nothing present or nothing absent to learn from.
    """
    rng = np.random.default_rng(seed)
    present = torch.nonzero(shown.flatten())[:, 0]
    absent = torch.nonzero(~shown.flatten())[:, 0]
    if not len(present) or not len(absent):
        raise DataError(
            f"The presence head cannot be fitted: {len(present)} present and {len(absent)} absent words. "
            "Give more pictures or more words."
        )
    drawn = rng.choice(len(absent), min(len(present), len(absent)), replace=False)
    absent = absent[torch.from_numpy(drawn).to(absent.device)]
    asked = torch.cat([present, absent])
    inputs, truth = evidence.reshape(-1, 2)[asked], shown.flatten()[asked].float()
    weights = [head.weight, head.bias]
    optimizer = torch.optim.LBFGS(weights, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits((inputs * head.weight).sum(dim=-1) + head.bias, truth)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        scores = torch.sigmoid((inputs * head.weight).sum(dim=-1) + head.bias)
    grid = torch.linspace(0.02, 0.98, 97)
    kept = [
        (float((scores[truth > 0] >= level).float().mean()), float((scores[truth == 0] >= level).float().mean()))
        for level in grid.tolist()
    ]
    best = max(range(len(grid)), key=lambda index: kept[index][0] - kept[index][1])
    return {"threshold": round(float(grid[best]), 2), "present_kept": kept[best][0], "absent_kept": kept[best][1]}
