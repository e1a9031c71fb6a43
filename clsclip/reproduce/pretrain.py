"""Contrastive pre-training of small CLIP towers on captioned pictures: no mask is seen here.

Three losses on (picture, caption) pairs: open_clip's contrastive loss between the image embedding and the whole
caption; and, for every noun phrase of the batch's captions, whether a picture's caption names it, asked of the image
embedding and of the patches. The patch question pools evidence by log-sum-exp (multiple-instance learning: a
picture shows a word if some patch does), so patches learn to carry the word of what they show without any mask.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from open_clip.loss import ClipLoss
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clsclip.reproduce.stickers.mosaics import CaptionedBatch, CaptionedBatches
from clsclip.tower_files import save_towers
from clsclip.towers import ImageSpec, Towers

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a pre-training run.

    Attributes:
        steps: optimiser steps.
        learning_rate: peak, after a linear warm-up, before a cosine decay to zero.
        weight_decay: on matrices only.
        warmup: steps of linear warm-up.
        workers: processes that make pictures.
        seed: of the weights.
    """

    steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 200
    workers: int = 2
    seed: int = 0


def small_clip_config(image_size: int, vocabulary_size: int) -> dict[str, object]:
    """open_clip model configuration of the sticker towers: about 2.8 M image and 0.8 M text parameters."""
    vision = {"image_size": image_size, "patch_size": 8, "width": 192, "head_width": 64, "layers": 6}
    text = {"context_length": 40, "vocab_size": vocabulary_size, "width": 128, "heads": 4, "layers": 3}
    return {"embed_dim": 128, "vision_cfg": vision, "text_cfg": text | {"pool_type": "eos", "eos_id": 2}}


class CaptionLoss(nn.Module):
    """The losses of the module's description; each is a cross entropy over cosines times a learned scale."""

    PEAK_SHARPNESS = 10.0

    def __init__(self) -> None:
        super().__init__()
        self.contrastive = ClipLoss()
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())

    def forward(self, towers: Towers, batch: CaptionedBatch, pixel_values: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss and its parts for one batch; ``contrastive`` is there for whole pictures only."""
        ids = towers.tokenize(batch.captions + batch.phrases)
        ids = ids[:, : int((ids != 0).sum(dim=1).max())]
        texts = towers.text_features(towers.text_tokens(ids)).float()
        captions, phrases = texts[: len(batch.captions)], texts[len(batch.captions) :]
        image, patches = (out.float() for out in towers.features(encode(towers, pixel_values)))
        scale = self.log_scale.exp().clamp(max=100)
        anywhere = batch.shown.reshape(len(image), -1, len(phrases)).amax(dim=1)
        parts = {"image": matching_loss(scale * image @ phrases.T, anywhere)}
        cosines = split_parts(patches @ phrases.T, batch.parts)
        peaks = torch.logsumexp(self.PEAK_SHARPNESS * cosines, dim=1) / self.PEAK_SHARPNESS
        parts["patches"] = matching_loss(scale * peaks, batch.shown)
        if batch.captions:
            parts["contrastive"] = self.contrastive(image, captions, towers.logit_scale.exp().clamp(max=100))
        return torch.stack(list(parts.values())).sum(), {name: part.item() for name, part in parts.items()}


def split_parts(values: Tensor, parts: int) -> Tensor:
    """(B, m, U) of a square grid of patches -> (B * parts * parts, m / parts^2, U), part by part, row by row."""
    pictures, count, width = values.shape
    cell = round(count**0.5) // parts
    values = values.reshape(pictures, parts, cell, parts, cell, width).transpose(2, 3)
    return values.reshape(pictures * parts * parts, cell * cell, width)


def matching_loss(logits: Tensor, shown: Tensor) -> Tensor:
    """Symmetric cross entropy when a picture shows several words: the other right answers never count as wrong.

    Args:
        logits: (B, U) picture-to-phrase.
        shown: (B, U) 1 where right.

    Returns:
        mean over right pairs of both directions.
    """
    wrong = logits.masked_fill(shown > 0, float("-inf"))
    picture_to_word = torch.logaddexp(logits, torch.logsumexp(wrong, dim=1, keepdim=True)) - logits
    word_to_picture = torch.logaddexp(logits, torch.logsumexp(wrong, dim=0, keepdim=True)) - logits
    return ((picture_to_word + word_to_picture) * shown).sum() / (2 * shown.sum().clamp(min=1))


def encode(towers: Towers, pixel_values: Tensor) -> Tensor:
    """Last layer's tokens of the unmodified path: (B, 3, S, S) -> (B, 1 + m, d)."""
    return towers.run_layers(towers.embed(pixel_values), 0, towers.layers)


def normalise(pixels: Tensor, image: ImageSpec) -> Tensor:
    """(B, 3, S, S) uint8 -> float32 pixel values."""
    mean = torch.tensor(image.mean).view(3, 1, 1)
    std = torch.tensor(image.std).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std


def new_towers(tokenizer: Tokenizer, image_size: int, seed: int) -> tuple[Towers, dict[str, object]]:
    """Fresh sticker towers and their open_clip configuration."""
    torch.manual_seed(seed)
    config = small_clip_config(image_size, tokenizer.get_vocab_size())
    clip = open_clip.CLIP(**config)
    return Towers(clip, tokenizer, ImageSpec(image_size, IMAGE_MEAN, IMAGE_STD), "stickers"), config


def pretrain(
    towers: Towers, open_clip_config: dict[str, object], batches: CaptionedBatches, config: PretrainConfig, out: Path
) -> None:
    """Train ``towers`` in place; every 500 steps and at the end write them to ``out`` (local-dir layout).

    At the end the weights are rounded to float16 values, in place too: files are half as large, and nothing that is
    trained on the towers later depends on bits that the files do not hold.
    """
    torch.manual_seed(config.seed)
    criterion = CaptionLoss()
    parameters = [p for module in (towers, criterion) for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, config.warmup, config.steps))
    loader = DataLoader(batches, batch_size=None, num_workers=config.workers)
    started = time.perf_counter()
    for step, batch in enumerate(loader, start=1):
        with torch.autocast("cpu", torch.bfloat16):
            loss, parts = criterion(towers, batch, normalise(batch.pixels, towers.image))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"The loss became {loss.item()} at step {step}; lower the learning rate.")
        if step % 25 == 0 or step == config.steps:
            speed = step * batches.size / (time.perf_counter() - started)
            line = {"step": step, "parts": batch.parts, **parts, "pictures_per_second": round(speed, 1)}
            append_line(out / "pretrain.jsonl", line)
        if step % 500 == 0 and step < config.steps:
            save_towers(towers, open_clip_config, out)
    with torch.no_grad():
        for weight in towers.parameters():
            weight.copy_(weight.half().float())
    save_towers(towers, open_clip_config, out, torch.float16)


def warm_cosine(step: int, warmup: int, steps: int) -> float:
    """Learning-rate factor: linear warm-up, then cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def append_line(path: Path, values: dict[str, float]) -> None:
    """Append one JSON line; nothing stays open between lines, so a killed run leaves whole lines."""
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(values) + "\n")
