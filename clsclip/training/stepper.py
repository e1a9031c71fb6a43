"""One optimizer step: micro-batches, precision, gradients of all processes, and the guard against NaN."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clsclip.errors import TowersError, TrainingError
from clsclip.model import ClsClip
from clsclip.training.config import TrainConfig
from clsclip.training.loss import mask_loss
from clsclip.training.pairs import Piece
from clsclip.training.processes import Processes
from clsclip_runtime.cli.stopping import deferred

PATIENCE = 3
"""So many steps in a row without a finite loss and gradient end the run."""

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepResult:
    """What a step did: mean loss over its pairs, the gradient's norm before clipping, and whether weights changed."""

    loss: float
    grad_norm: float
    applied: bool


class Stepper:
    """The learned weights, their optimizer, and how a step changes them.

    Attributes:
        done: number of the last step that is done, 0 before the first.
        whole: False while weights change: what is written then would belong to no step.

    Args:
        model: on the processes' device.
        text_tokens: (K, d_text) of the seen words.
        config: precision, loss, decay, clipping.
        processes: whose gradients are added.

    Raises:
        TrainingError: the precision is not possible on this device.
        TowersError: a frozen weight or a text token is not finite.
    """

    def __init__(self, model: ClsClip, text_tokens: Tensor, config: TrainConfig, processes: Processes) -> None:
        if config.precision == "fp16" and processes.device.type != "cuda":
            raise TrainingError(
                f"fp16 needs a GPU, and this run is on {processes.device.type}. Choose --precision bf16 or fp32."
            )
        check_finite(model, text_tokens)
        self.model, self.text_tokens, self.config, self.processes = model, text_tokens, config, processes
        # The presence head is fitted on its own; no mask depends on it.
        self.learned = {
            name: value
            for name, value in model.named_parameters()
            if value.requires_grad and not name.startswith("presence.")
        }
        self.weights: list[nn.Parameter] = list(self.learned.values())
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=config.precision == "fp16")
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.applied = 0
        self.done = 0
        self.whole = True

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision of the forward pass."""
        if self.config.precision not in _TYPES:
            return contextlib.nullcontext()
        return torch.autocast(self.processes.device.type, _TYPES[self.config.precision])

    def step(
        self, pieces: Iterable[Piece], number: int, rate: float, told: Callable[[StepResult], None] | None = None
    ) -> StepResult:
        """One step over this process's pieces of it.

        Args:
            pieces: micro-batches; all processes together hold ``step_pairs`` pairs.
            number: of the step, for messages.
            rate: learning rate.
            told: gets what is returned, before a request to stop can come between: who writes the weights of this
                step has a line of it.

        Raises:
            TrainingError: the third step in a row is not finite.
        """
        self.optimizer.zero_grad(set_to_none=False)
        total = torch.zeros(1, device=self.processes.device)
        for piece in pieces:
            if len(piece.crop_index):
                piece = piece.to(self.processes.device)
                loss = self.loss(piece)
                self.scaler.scale(loss).backward()
                total += loss.detach()
        gradients = [self.gradient(weight) for weight in self.weights]
        self.processes.add([total, *gradients])
        loss_value = float(total)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.get_total_norm(gradients))
        finite = math.isfinite(loss_value) and math.isfinite(norm)
        with deferred():  # what is asked to stop within comes to its end: the weights are those of a whole step
            if finite:
                self.update(norm, rate)
            else:
                self.skip(number, rate, loss_value)
            if self.scaler.is_enabled():
                self.scaler.update()
            self.done = number
            found = StepResult(loss_value, norm, finite)
            if told is not None:
                told(found)
        return found

    def update(self, norm: float, rate: float) -> None:
        """Change the weights by the gradients of this step, whose norm is known."""
        if self.config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.weights, self.config.clip_norm, torch.tensor(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.whole = False
        self.scaler.step(self.optimizer)
        self.whole = True
        self.applied += 1
        self.skipped_in_a_row = 0

    def loss(self, piece: Piece) -> Tensor:
        """This piece's part of the step's mean loss; a scalar tensor."""
        with self.autocast():
            logits = self.model(piece.pixel_values, self.text_tokens, piece.crop_index, piece.class_index)
        losses = mask_loss(logits.float(), piece.target, piece.weight, self.config.dice)
        return losses.sum() / piece.step_pairs

    @staticmethod
    def gradient(weight: nn.Parameter) -> Tensor:
        """Its gradient, zeros where this process had no pair."""
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        return weight.grad

    def skip(self, number: int, rate: float, loss: float) -> None:
        """Count a step that is not finite; see :meth:`step`."""
        self.skipped += 1
        # Loss scaling overflows by design until it finds its scale: no fault while the loss itself is finite.
        if self.scaler.is_enabled() and math.isfinite(loss) and self.scaler.get_scale() > 1:
            return
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row < PATIENCE:
            return
        what = "The loss" if not math.isfinite(loss) else "The gradient"
        raise TrainingError(
            f"{what} was not finite in {PATIENCE} steps in a row, the last of them step {number}, at learning rate "
            f"{rate:.2g} and precision {self.config.precision}. The weights are those of the last good step, and the "
            "last checkpoint stands. Try a lower --lr, a longer --warmup, or --precision fp32."
        )


def check_finite(model: ClsClip, text_tokens: Tensor) -> None:
    """Refuse weights and words that hold NaN before hours are spent on them; see :class:`Stepper`."""
    for name, value in model.named_parameters():
        if not bool(torch.isfinite(value).all()):
            if name.startswith("towers."):
                raise TowersError(
                    f"The tower weight {name.removeprefix('towers.')} of {model.towers.name} holds NaN or infinity: "
                    "the file is damaged or its training diverged. Get the towers again."
                )
            raise TrainingError(f"The weight {name} holds NaN or infinity before the first step. Start a new run.")
    if not bool(torch.isfinite(text_tokens).all()):
        raise TowersError(f"The text tower of {model.towers.name} gives NaN for the words. Get the towers again.")
