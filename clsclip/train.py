"""Training ClsCLIP with masks: the linear maps and the decoder learn, both towers stay frozen."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from clsclip.model import ClsClip
from clsclip.pretrain import append_line, normalise, warm_cosine
from clsclip.stickers.dataset import StickerPictures, stack_pixels
from clsclip.stickers.pictures import Picture
from clsclip.stickers.vocabulary import nouns

PROMPT = "a picture of a {}"


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Attributes:
        steps: optimiser steps.
        pictures: pictures a step.
        present: at most so many present words are asked of each picture.
        absent: so many absent words are asked of each picture; their mask is empty.
        learning_rate: peak; warm-up, then cosine to zero.
        weight_decay: of AdamW.
        workers: processes that make pictures.
        seed: of words and weights.
    """

    steps: int
    pictures: int = 16
    present: int = 3
    absent: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    workers: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """Pairs of a batch: which crop, which word, and the word's mask (P, S, S) float32 in [0, 1]."""

    pixels: Tensor
    words: list[int]
    crop_index: Tensor
    class_index: Tensor
    masks: Tensor


class PairMaker:
    """Picks words for pictures; of held-out nouns neither masks nor absences are ever asked."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.seen = [noun.index for noun in nouns() if not noun.held_out]

    def __call__(self, pictures: list[Picture]) -> Pairs:
        """Collate pictures into pairs; random, but the same for the same pictures."""
        rng = np.random.default_rng([self.config.seed, *(int(picture.pixels.sum()) for picture in pictures[:4])])
        words = {noun: index for index, noun in enumerate(self.seen)}
        crops, classes, masks = [], [], []
        for crop, picture in enumerate(pictures):
            shown = [noun for noun in picture.nouns if noun in words]
            hidden = [noun for noun in self.seen if noun not in shown]
            asked = list(rng.permutation(shown)[: self.config.present]) + list(
                rng.permutation(hidden)[: self.config.absent]
            )
            for noun in asked:
                crops.append(crop)
                classes.append(words[int(noun)])
                masks.append(picture.mask(int(noun)))
        masks_tensor = torch.from_numpy(np.stack(masks)).float()
        return Pairs(stack_pixels(pictures), self.seen, torch.tensor(crops), torch.tensor(classes), masks_tensor)


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy plus soft Dice, both of (P, h, w) logits against (P, S, S) masks averaged down to (h, w)."""
    target = adaptive_avg_pool2d(masks, (logits.shape[-2], logits.shape[-1]))
    entropy = binary_cross_entropy_with_logits(logits, target)
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=(1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) + 1)
    return entropy + 0.5 * dice.mean()


def train(model: ClsClip, pictures: StickerPictures, config: TrainConfig, log_path: Path) -> Iterator[int]:
    """Train in place; yields the step after every 200 steps and at the end, for the caller to save.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    torch.manual_seed(config.seed)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, 100, config.steps))
    maker = PairMaker(config)
    with torch.no_grad():
        text_tokens, _ = model.encode_words([PROMPT.format(nouns()[noun].name) for noun in maker.seen])
    loader = DataLoader(pictures, config.pictures, num_workers=config.workers, collate_fn=maker, drop_last=True)
    started, total = time.perf_counter(), 0.0
    for step, batch in zip(range(1, config.steps + 1), loader, strict=False):
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                stem, _, patch_features = model.encode_image(normalise(batch.pixels, model.towers.image))
            logits = model.trunk(stem, patch_features, text_tokens, batch.crop_index, batch.class_index)
        loss = mask_loss(logits.float(), batch.masks)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if not math.isfinite(total):
            raise FloatingPointError(f"The loss is no longer finite at step {step}; lower the learning rate.")
        if step % 50 == 0 or step == config.steps:
            speed = step * config.pictures / (time.perf_counter() - started)
            line = {"step": step, "loss": round(total / 50, 4), "pictures_per_second": round(speed, 1)}
            append_line(log_path, line)
            total = 0.0
        if step % 200 == 0 or step == config.steps:
            yield step
