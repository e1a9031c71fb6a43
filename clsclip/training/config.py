"""Settings of a training run, the learning rate they imply, and the text that a resumed run is compared by."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clsclip.data.base import Fold
from clsclip.errors import TrainingError
from clsclip.model import ClsClip
from clsclip.towers import Identity
from clsclip_runtime.paths import plain

PRECISIONS = ("fp32", "bf16", "fp16")

WITHOUT_EFFECT = (
    *("workers", "device", "save_every", "save_minutes", "log_every", "tensorboard", "presence_pictures"),
    *("validate_minutes", "validation_pictures", "strict"),
)
"""Fields that do not change which weights come out: a run may be resumed with others."""

LENGTH = ("steps", "epochs")
"""Fields that say how long a run is: it may be resumed with others, and its learning rate follows them from there."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; the defaults are the paper's where it gives them.

    Attributes:
        epochs: passes over all training pairs.
        steps: optimizer steps; given, it takes the place of ``epochs``.
        batch: pairs a micro-batch, over all processes together. The paper: 64 on PASCAL-5i, 512 on COCO-20i.
        accumulate: micro-batches a step; the step is that of a batch ``accumulate`` times as large.
        learning_rate: peak of every annealing cycle.
        weight_decay: of AdamW.
        restart_epochs: T_0, epochs of the first annealing cycle; None anneals once over the whole run.
        restart_factor: T_mult, how much longer every cycle is than the one before.
        warmup_steps: linear warm-up before the schedule's rate holds in full.
        absent: share of a batch's pairs that ask a seen word which the picture does not show (mask empty). The
            paper asks none; a model that never met an absent word marks whatever stands out.
        words_per_picture: at most so many classes of one picture are grouped, and so share its stem.
        flip: mirror every second picture at random.
        dice: weight of the soft Dice loss beside the binary cross entropy.
        clip_norm: largest norm of the gradient; 0 does not clip.
        precision: "fp32", "bf16", or "fp16" (CUDA only, with loss scaling).
        device: "auto", "cpu", "cuda" or "cuda:1".
        workers: processes that read pictures; 0 reads in this one. Never changes a result.
        seed: of everything random.
        template: prompt with one {} for the word.
        save_every: most steps between checkpoints.
        save_minutes: most minutes between checkpoints.
        log_every: steps between lines of metrics.
        tensorboard: write metrics for TensorBoard too.
        presence_pictures: training pictures that the presence head is fitted on; 0 leaves it alone.
        validate_minutes: minutes between validations, at least four times as long as one takes.
        validation_pictures: most pictures of a validation.
        strict: end where a picture or mask cannot be read; else it is passed over and counted.
    """

    epochs: int = 200
    steps: int | None = None
    batch: int = 64
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    restart_epochs: float | None = None
    restart_factor: int = 1
    warmup_steps: int = 0
    absent: float = 0.0
    words_per_picture: int = 1
    flip: bool = True
    dice: float = 0.5
    clip_norm: float = 1.0
    precision: str = "fp32"
    device: str = "auto"
    workers: int = 2
    seed: int = 0
    template: str = "a photo of a {}"
    save_every: int = 200
    save_minutes: float = 10.0
    log_every: int = 20
    tensorboard: bool = False
    presence_pictures: int = 0
    validate_minutes: float = 10.0
    validation_pictures: int = 200
    strict: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant.

        Raises:
            TrainingError: names the setting.
        """
        least: dict[str, float] = {"epochs": 1, "batch": 1, "accumulate": 1, "restart_factor": 1}
        least |= {"words_per_picture": 1, "save_every": 1, "log_every": 1, "warmup_steps": 0, "workers": 0}
        least |= {"weight_decay": 0, "dice": 0, "clip_norm": 0, "presence_pictures": 0, "seed": 0}
        least |= {"save_minutes": 0, "validate_minutes": 0, "validation_pictures": 1}
        if self.steps is not None:
            least["steps"] = 1
        for name, low in least.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= low):
                raise TrainingError(f"{name} is {value}; it must be {low} or more.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise TrainingError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if self.restart_epochs is not None and not self.restart_epochs > 0:
            raise TrainingError(f"restart_epochs is {self.restart_epochs}; it must be above 0, or None.")
        if not 0 <= self.absent < 1:
            raise TrainingError(f"absent is {self.absent}; it is a share of the batch, from 0 to below 1.")
        if self.present_pairs < 1:
            raise TrainingError(
                f"A batch of {self.pairs_per_step} pairs with {self.absent:.0%} absent words leaves none present. "
                "Take a larger batch, or fewer absent words."
            )
        if self.precision not in PRECISIONS:
            raise TrainingError(f"There is no precision {self.precision!r}. Choose one of: {', '.join(PRECISIONS)}.")
        if self.template.count("{}") != 1:
            raise TrainingError(f"The template {self.template!r} must hold {{}} once, where the word goes.")

    @property
    def pairs_per_step(self) -> int:
        """Pairs of one optimizer step: ``batch * accumulate``."""
        return self.batch * self.accumulate

    @property
    def absent_pairs(self) -> int:
        """How many of a full step's pairs ask an absent word."""
        return round(self.absent * self.pairs_per_step)

    @property
    def present_pairs(self) -> int:
        """How many of a full step's pairs ask a present word."""
        return self.pairs_per_step - self.absent_pairs

    def total_steps(self, steps_per_epoch: int) -> int:
        """Count the steps of the whole run."""
        return self.steps if self.steps is not None else self.epochs * steps_per_epoch

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of step ``step`` (counted from 0): cosine annealing with warm restarts.

        The same as torch's ``CosineAnnealingWarmRestarts`` stepped with fractions of an epoch, but a function of the
        step alone, so that a resumed run needs nothing to be restored.
        """
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.restart_epochs is None:
            length = float(self.total_steps(steps_per_epoch))
        else:
            length = self.restart_epochs * steps_per_epoch
        since = float(step)
        while since >= length:
            since -= length
            length *= self.restart_factor
        return warm * self.learning_rate * 0.5 * (1 + math.cos(math.pi * since / length))


def settings_of(model: ClsClip, fold: Fold, config: TrainConfig, towers: Identity) -> dict[str, Any]:
    """All that decides which weights come out of a run, as plain JSON; two runs with equal settings are one run."""
    train = {name: value for name, value in asdict(config).items() if name not in WITHOUT_EFFECT}
    pairs = hashlib.sha256(json.dumps([fold.train_pairs, fold.seen]).encode()).hexdigest()
    data = {"kind": fold.train.name, "fold": fold.number, "pictures": len(fold.train), "pairs_sha256": pairs}
    data["seen_words"] = [fold.train.classes[one] for one in fold.seen]
    settings = {
        "train": train,
        "model": asdict(model.config),
        "image_size": model.towers.image.size,
        "towers": {"weights": towers.weights, "settings": towers.settings},
        "data": data,
    }
    decoded: dict[str, Any] = plain(settings)  # tuples become lists, as they will in the file
    return decoded


def without_length(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run but how long it is."""
    train = {name: value for name, value in settings.get("train", {}).items() if name not in LENGTH}
    return {name: value for name, value in settings.items() if name != "lengths"} | {"train": train}


def settings_digest(settings: dict[str, Any]) -> str:
    """sha256 of settings in a canonical form."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
