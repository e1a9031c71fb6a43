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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.loss import ClipLoss
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clsclip.reproduce.naming import SingleThings, named_right, normalise
from clsclip.reproduce.pretrain_state import PretrainState
from clsclip.reproduce.schedule import Schedule
from clsclip.reproduce.stickers.mosaics import CaptionedBatch, CaptionedBatches
from clsclip.reproduce.stickers.tensor_mosaics import TensorBatches
from clsclip.tower_files import save_towers
from clsclip.towers import ImageSpec, Towers
from clsclip_runtime.paths import append_line, plain

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a pre-training run.

    Attributes:
        steps: optimizer steps.
        learning_rate: peak, after a linear warm-up.
        cooldown: None lets it fall as a cosine to zero; a number keeps it, and lets it fall in the last steps. See
            :class:`clsclip.reproduce.schedule.Schedule`.
        weight_decay: on matrices only.
        warmup: steps of linear warm-up.
        mean_decay: of the running mean of the weights, which is what is written; 0 writes the weights themselves.
        save_minutes: minutes between two writings of towers and state.
        workers: processes that make pictures.
        seed: of the weights.
    """

    steps: int
    learning_rate: float = 1e-3
    cooldown: int | None = None
    weight_decay: float = 0.05
    warmup: int = 200
    mean_decay: float = 0.0
    save_minutes: float = 10.0
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
        ids = ids[:, : int((ids != 0).sum(dim=1).max())].to(pixel_values.device)
        shown = batch.shown.to(pixel_values.device)
        texts = towers.text_features(towers.text_tokens(ids)).float()
        captions, phrases = texts[: len(batch.captions)], texts[len(batch.captions) :]
        image, patches = (out.float() for out in towers.features(encode(towers, pixel_values)))
        scale = self.log_scale.exp().clamp(max=100)
        anywhere = shown.reshape(len(image), -1, len(phrases)).amax(dim=1)
        parts = {"image": matching_loss(scale * image @ phrases.T, anywhere)}
        cosines = split_parts(patches @ phrases.T, batch.parts)
        peaks = torch.logsumexp(self.PEAK_SHARPNESS * cosines, dim=1) / self.PEAK_SHARPNESS
        parts["patches"] = matching_loss(scale * peaks, shown)
        if batch.captions:
            parts["contrastive"] = self.contrastive(image, captions, towers.logit_scale.exp().clamp(max=100))
        return torch.stack(list(parts.values())).sum(), {name: part.item() for name, part in parts.items()}


def split_parts(values: Tensor, parts: int) -> Tensor:
    """(B, m, U) of a square grid of patches -> (B * parts * parts, m / parts^2, U), part by part, row by row."""
    images, count, width = values.shape
    cell = round(count**0.5) // parts
    values = values.reshape(images, parts, cell, parts, cell, width).transpose(2, 3)
    return values.reshape(images * parts * parts, cell * cell, width)


def matching_loss(logits: Tensor, shown: Tensor) -> Tensor:
    """Symmetric cross entropy when a picture shows several words: the other right answers never count as wrong.

    Args:
        logits: (B, U) picture-to-phrase.
        shown: (B, U) 1 where right.

    Returns:
        mean over right pairs of both directions.
    """
    wrong = logits.masked_fill(shown > 0, float("-inf"))
    image_to_word = torch.logaddexp(logits, torch.logsumexp(wrong, dim=1, keepdim=True)) - logits
    word_to_image = torch.logaddexp(logits, torch.logsumexp(wrong, dim=0, keepdim=True)) - logits
    return ((image_to_word + word_to_image) * shown).sum() / (2 * shown.sum().clamp(min=1))


def encode(towers: Towers, pixel_values: Tensor) -> Tensor:
    """Last layer's tokens of the unmodified path: (B, 3, S, S) -> (B, 1 + m, d)."""
    return towers.run_layers(towers.embed(pixel_values), 0, towers.layers)


def new_towers(tokenizer: Tokenizer, image_size: int, seed: int) -> tuple[Towers, dict[str, object]]:
    """Fresh sticker towers and their open_clip configuration."""
    torch.manual_seed(seed)
    config = small_clip_config(image_size, tokenizer.get_vocab_size())
    clip = open_clip.CLIP(**config)
    return Towers(clip, tokenizer, ImageSpec(image_size, IMAGE_MEAN, IMAGE_STD), "stickers"), config


def pretrain(
    towers: Towers,
    open_clip_config: dict[str, object],
    batches: CaptionedBatches | TensorBatches,
    config: PretrainConfig,
    out: Path,
    *,
    settings: dict[str, Any] | None = None,
    probes: Sequence[SingleThings] = (),
) -> None:
    """Train ``towers`` in place; now and then and at the end write them to ``out`` (local-dir layout) with the state.

    A run whose state is in ``out`` goes on from it. At the end the weights are rounded to float16 values, in place
    too: files are half as large, and nothing that is trained on the towers later depends on bits that the files do not
    hold.

    Args:
        towers: what learns.
        open_clip_config: for the written towers.
        batches: one a step; batch ``i`` is the same on every call, so that a resumed run sees those it has not seen.
        config: length, rates and so on.
        out: folder for towers, state and the log ``pretrain.jsonl``.
        settings: what else a resumed run must have been started with.
        probes: single things to be named whenever towers are written; the log tells how many are named right.

    Raises:
        TrainingError: ``out`` has the state of a run with other settings.
        FloatingPointError: the loss is no longer finite.
    """
    torch.manual_seed(config.seed)
    device = towers.logit_scale.device
    criterion = CaptionLoss().to(device)
    fixed = {name: value for name, value in asdict(config).items() if name not in _MAY_CHANGE} | (settings or {})
    schedule = Schedule(config.learning_rate, config.warmup, config.steps, config.cooldown)
    modules = {"towers": towers, "criterion": criterion}
    state = PretrainState(modules, schedule, config.weight_decay, config.mean_decay, plain(fixed))
    resumed = state.resume(out)
    log = Log(out / "pretrain.jsonl", state.step, batches.size)
    log.write({"step": state.step, "resumed": resumed, "named_right": named_right(towers, probes)})
    loader = DataLoader(batches, batch_size=None, sampler=range(state.step, config.steps), num_workers=config.workers)
    saved = time.monotonic()
    for batch in loader:
        pixels = batch.pixels.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss, parts = criterion(towers, batch, normalise(pixels, towers.image))
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"The loss became {loss.item()} at step {state.step}; lower the learning rate.")
        state.update(loss)
        if state.step % 25 == 0 or state.step == config.steps:
            log.write({"step": state.step, "parts": batch.parts, **parts} | log.speed(state.step))
        if time.monotonic() - saved > 60 * config.save_minutes and state.step < config.steps:
            state.save(out)
            state.exchange()
            save_towers(towers, open_clip_config, out)
            log.write({"step": state.step, "named_right": named_right(towers, probes)})
            state.exchange()
            saved = time.monotonic()
    state.save(out)
    state.exchange()
    with torch.no_grad():
        for weight in towers.parameters():
            weight.copy_(weight.half().float())
    save_towers(towers, open_clip_config, out, torch.float16)
    log.write({"step": state.step, "named_right": named_right(towers, probes)})


_MAY_CHANGE = ("steps", "cooldown", "save_minutes", "workers")
"""Settings that a resumed run may have others of."""


class Log:
    """Lines of JSON with what a run does, and its speed since it was started or resumed.

    Args:
        path: appended to; nothing stays open between lines, so a killed run leaves whole lines.
        first: step that the run starts at.
        batch: pictures a step.
    """

    def __init__(self, path: Path, first: int, batch: int) -> None:
        self.path, self.first, self.batch, self.started = path, first, batch, time.perf_counter()

    def speed(self, step: int) -> dict[str, float]:
        """Steps and pictures a second up to ``step``."""
        rate = (step - self.first) / (time.perf_counter() - self.started)
        return {"steps_per_second": round(rate, 3), "pictures_per_second": round(rate * self.batch, 1)}

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""
        append_line(self.path, json.dumps(values))
