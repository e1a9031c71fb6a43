"""Loss scaling, as fp16 uses it on GPUs, driven here on the CPU."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clsclip.preprocessing import image_spec
from clsclip.training.config import TrainConfig
from clsclip.training.pairs import Piece, Pieces
from clsclip.training.plan import Plan
from clsclip.training.processes import Processes
from clsclip.training.state import load_state, save_state
from clsclip.training.stepper import Stepper
from tests.clsclip.training.tiny_fold import fresh_model, tiny_fold

SETTINGS = TrainConfig(steps=4, batch=6, workers=0, device="cpu", learning_rate=1e-4)


def stepper(scale: float | None = None) -> Stepper:
    model = fresh_model()
    with torch.no_grad():
        tokens = model.encode_words(["dog", "cat", "boat", "bottle"])[0]
    made = Stepper(model, tokens, SETTINGS, Processes(0, 1, torch.device("cpu")))
    if scale is not None:
        made.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return made


def piece(step: int) -> Piece:
    fold = tiny_fold()
    made = Pieces(fold, Plan(fold, replace(SETTINGS)), image_spec(fresh_model()), 16)[step]
    assert isinstance(made, Piece)
    return made


def test_scaled_losses_train_the_same_weights() -> None:
    plain, scaled = stepper(), stepper(2.0**12)
    for number in range(3):
        first = plain.step([piece(number)], number + 1, 1e-4)
        second = scaled.step([piece(number)], number + 1, 1e-4)
        torch.testing.assert_close(torch.tensor(second.grad_norm), torch.tensor(first.grad_norm), rtol=1e-4, atol=0)
    for name, weight in plain.learned.items():
        if not name.endswith("in_proj_bias"):
            torch.testing.assert_close(scaled.learned[name], weight, atol=2e-6, rtol=0)


def test_a_step_is_told_before_the_run_can_be_stopped() -> None:
    """What is written of a run that was stopped has a line for its last step."""
    made, told = stepper(), []

    def stopped(norm: float, rate: float) -> None:
        Stepper.update(made, norm, rate)
        signal.raise_signal(signal.SIGINT)

    made.update = stopped  # type: ignore[method-assign]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            made.step([piece(0)], 1, 1e-4, told.append)
    finally:
        signal.signal(signal.SIGINT, before)
    assert made.done == 1 and made.whole and [one.applied for one in told] == [True]


def test_overflow_lowers_the_scale_and_is_no_fault(tmp_path: Path) -> None:
    overflowing = stepper(2.0**12)
    overflowing.learned["decoder.head.bias"].register_hook(lambda gradient: gradient * float("inf"))
    before = [weight.clone() for weight in overflowing.weights]
    for number in range(4):
        assert not overflowing.step([piece(number)], number + 1, 1e-4).applied
        assert overflowing.scaler.get_scale() == 2.0 ** (11 - number)
    assert overflowing.skipped == 4 and overflowing.skipped_in_a_row == 0
    assert all(torch.equal(weight, old) for weight, old in zip(overflowing.weights, before, strict=True))

    save_state(overflowing, tmp_path / "state.safetensors", {"a": 1}, 4)
    resumed = stepper(2.0)
    assert load_state(resumed, tmp_path / "state.safetensors", {"a": 1}).step == 4
    assert resumed.scaler.get_scale() == overflowing.scaler.get_scale()
    assert (resumed.skipped, resumed.applied) == (4, 0)
