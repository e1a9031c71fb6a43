"""The state of a run, as safetensors: weights, AdamW's moments, counters. Nothing is pickled.

``training_state.safetensors`` is all that a resumed run reads; ``last.safetensors`` is for everybody else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from clsclip.checkpoint import read_header as read_checkpoint
from clsclip.differences import differences
from clsclip.errors import CheckpointError, TrainingError
from clsclip.run_files import CHECKPOINT_FILE
from clsclip.tensors import read_weights
from clsclip.training.config import settings_digest, without_length
from clsclip.training.stepper import Stepper
from clsclip_runtime.documents import parse_json
from clsclip_runtime.paths import make_folder, write_bytes
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

FORMAT = "clsclip-training-state-1"

_COUNTED = ("step", "applied", "skipped", "skipped_in_a_row", "loss_scale_tracker")
_MOST = 1 << 53
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Restored:
    """What a state says besides its weights.

    Attributes:
        step: steps done.
        lengths: (from which step, steps of the whole run), one for every length that the run was given.
    """

    step: int
    lengths: tuple[tuple[int, int], ...]


def state_tensors(stepper: Stepper) -> dict[str, Tensor]:
    """Weights and moments by name; the tensors themselves, not copies. Moments are made where there are none yet."""
    tensors = {}
    for name, weight in stepper.learned.items():
        slots = stepper.optimizer.state[weight]
        for moment in _MOMENTS:
            slots.setdefault(moment, torch.zeros_like(weight))
        slots.setdefault("step", torch.zeros((), device=weight.device))
        tensors[f"weight/{name}"] = weight.detach()
        tensors |= {f"{moment}/{name}": slots[moment] for moment in _MOMENTS}
    return tensors


def save_state(stepper: Stepper, path: Path, settings: dict[str, Any], step: int) -> None:
    """Write the state after ``step`` steps to ``path``, atomically. OutputError if it cannot be written."""
    counters = {"step": step} | counters_of(stepper)
    header = {
        "format": FORMAT,
        "settings": json.dumps(settings),
        "settings_sha256": settings_digest(settings),
        "counters": json.dumps(counters),
    }
    make_folder(path.parent)
    tensors = {name: value.detach().cpu().contiguous() for name, value in state_tensors(stepper).items()}
    write_bytes(path, save(tensors, header), sync=True)


def counters_of(stepper: Stepper) -> dict[str, float]:
    """What a stepper counts; the loss scale is 0 where there is none."""
    scale, tracker = 0.0, 0
    if stepper.scaler.is_enabled():
        scaler = stepper.scaler.state_dict()
        scale, tracker = float(scaler["scale"]), int(scaler["_growth_tracker"])
    return {
        "applied": stepper.applied,
        "skipped": stepper.skipped,
        "skipped_in_a_row": stepper.skipped_in_a_row,
        "loss_scale": scale,
        "loss_scale_tracker": tracker,
    }


def restore_counters(stepper: Stepper, counters: Mapping[str, float]) -> None:
    """Set what a stepper counts, AdamW's own step numbers included."""
    stepper.applied, stepper.skipped = int(counters["applied"]), int(counters["skipped"])
    stepper.skipped_in_a_row = int(counters["skipped_in_a_row"])
    for weight in stepper.weights:
        stepper.optimizer.state[weight]["step"].fill_(float(stepper.applied))
    if stepper.scaler.is_enabled() and counters["loss_scale"]:
        restored = {"scale": counters["loss_scale"], "_growth_tracker": int(counters["loss_scale_tracker"])}
        stepper.scaler.load_state_dict(stepper.scaler.state_dict() | restored)


def read_header(path: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """Settings and counters of a state file.

    Raises:
        TrainingError: damaged, or another kind of file.
    """
    try:
        with TensorFile(path) as opened:
            header = opened.metadata
    except (OSError, TensorFileError) as error:
        raise TrainingError(f"{path} cannot be read as safetensors: {error}. Start anew with another --out.") from error
    if header.get("format") != FORMAT:
        raise TrainingError(f"{path} is not the state of a training run: its header does not say {FORMAT}.")
    try:
        settings, counters = parse_json(header["settings"]), parse_json(header["counters"])
        if settings_digest(settings) != header["settings_sha256"]:
            raise ValueError("its settings do not match their digest")
        if not isinstance(settings.get("train", {}), dict):
            raise ValueError("its settings of training are none")
        _lengths(settings)
        return settings, _counters(counters)
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise TrainingError(f"{path} has a damaged header: {error}. Start anew with another --out.") from error


def _counters(found: Mapping[str, Any]) -> dict[str, float]:
    """What a state counts, all of it. ValueError where one is no number that a run can come to."""
    for name in _COUNTED:
        if not isinstance(found[name], (int, float)) or not 0 <= found[name] <= _MOST or found[name] % 1:
            raise ValueError(f"its counter {name} is {str(found[name])[:40]}")
    scale = found["loss_scale"]
    if not isinstance(scale, (int, float)) or not 0 <= scale < float("inf"):
        raise ValueError(f"its loss scale is {str(scale)[:40]}")
    return {name: float(found[name]) for name in (*_COUNTED, "loss_scale")}


def load_state(stepper: Stepper, path: Path, settings: dict[str, Any]) -> Restored:
    """Put a state into ``stepper``; how long the run was to be may differ from ``settings``.

    Raises:
        TrainingError: damaged, not finite, or of a run with other settings; the message names them.
    """
    found, counters = read_header(path)
    if isinstance(found.get("towers"), str):
        found = found | {"towers": towers_of_before(found["towers"], path, settings["towers"])}
    other = differences(without_length(found), without_length(settings))
    if other:
        raise TrainingError(
            f"{path} belongs to a run with other settings: {'; '.join(other[:5])}. "
            "Resume with the same settings, or start anew with another --out."
        )
    expected = state_tensors(stepper)
    try:
        with TensorFile(path) as opened:
            if opened.shapes() != {name: tuple(value.shape) for name, value in expected.items()}:
                raise TrainingError(f"{path} holds other weights than this model has. Start anew with another --out.")
            stored = read_weights(opened)
        for name, value in stored.items():
            if name.startswith("exp_avg_sq/") and bool((value < 0).any()):
                raise TrainingError(f"{path}: {name} is a mean of squares below 0. Start anew with another --out.")
        for name, value in expected.items():
            value.copy_(stored[name])
        restore_counters(stepper, counters)
    except (OSError, KeyError, TensorFileError) as error:
        raise TrainingError(f"{path} is damaged: {error}. Start anew with another --out.") from error
    return Restored(int(counters["step"]), _lengths(found))


def _lengths(settings: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """See :class:`Restored`; of a state that notes none, what its steps say. ValueError where it is damaged."""
    noted = settings.get("lengths")
    if noted is None:
        steps = settings.get("train", {}).get("steps")
        noted = [[0, steps]] if steps else []
    if not isinstance(noted, list):
        raise ValueError("its lengths are no list")
    found = [(step, total) for step, total in noted]
    if not all(type(one) is int and 0 <= one <= _MOST for pair in found for one in pair):
        raise ValueError("its lengths are no numbers of steps")
    return tuple(found)


def towers_of_before(weights: str, path: Path, now: Mapping[str, Any]) -> dict[str, Any]:
    """What a state of 0.1 was trained on: it states the weights alone, and the checkpoint beside it names the towers.

    Args:
        weights: their digest.
        path: the state.
        now: weights and settings of the towers that are given.
    """
    try:
        told = read_checkpoint(path.with_name(CHECKPOINT_FILE))["towers"]["settings"]
    except CheckpointError:
        told = {}
    return {"weights": weights, "settings": {**now["settings"], **told}}


def share_state(stepper: Stepper, step: int) -> int:
    """Give every process what rank 0 holds; returns its step."""
    if stepper.processes.count == 1:
        return step
    counters = {"step": float(step)} | counters_of(stepper)
    # float64: a counter beyond 2^24 would be rounded in float32.
    numbers = torch.tensor(list(counters.values()), dtype=torch.float64, device=stepper.processes.device)
    stepper.processes.copy_from_first(list(state_tensors(stepper).values()))
    stepper.processes.copy_from_first([numbers])
    shared = dict(zip(counters, numbers.tolist(), strict=True))
    restore_counters(stepper, shared)
    return int(shared["step"])
