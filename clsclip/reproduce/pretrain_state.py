"""The state of a pre-training run, as safetensors: a run that was stopped goes on from it, whenever that is.

It holds the weights, their running mean, AdamW's moments, and the settings that they were made with. The running mean
of the weights (EMA) is what a run is judged by before its learning rate has come down.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from clsclip.errors import TrainingError
from clsclip.reproduce.schedule import Schedule
from clsclip.tensors import read_tensors
from clsclip_runtime.documents import parse_json
from clsclip_runtime.paths import is_file, write_bytes
from clsclip_runtime.tensor_files import TensorFile

FORMAT = "clsclip-pretraining-state-1"
STATE_FILE = "pretrain_state.safetensors"

_MOMENTS = ("exp_avg", "exp_avg_sq")


class PretrainState:
    """Weights that learn, their optimiser, their running mean, and the steps that they have done.

    Args:
        modules: by name; all their parameters that need a gradient learn.
        schedule: learning rate of every step.
        weight_decay: on matrices only.
        mean_decay: how much of the running mean a step keeps; less in the first steps, so that the start is forgotten.
        settings: what a resumed run must have been started with, plain JSON types.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        schedule: Schedule,
        weight_decay: float,
        mean_decay: float,
        settings: dict[str, Any],
    ) -> None:
        self.weights = {
            f"{name}.{part}": weight
            for name, module in modules.items()
            for part, weight in module.named_parameters()
            if weight.requires_grad
        }
        self.schedule, self.mean_decay, self.settings, self.step = schedule, mean_decay, settings, 0
        groups = [
            {"params": [one for one in self.weights.values() if one.ndim >= 2], "weight_decay": weight_decay},
            {"params": [one for one in self.weights.values() if one.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=schedule.peak, betas=(0.9, 0.98))
        self.mean = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def update(self, loss: Tensor) -> None:
        """One step down the gradient of ``loss``."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.optimiser.step()
        self.step += 1
        keep = min(self.mean_decay, self.step / (self.step + 10))
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.mean[name].lerp_(weight.detach(), 1 - keep)

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap weights and running mean; a second call swaps them back."""
        for name, weight in self.weights.items():
            kept = weight.detach().clone()
            weight.copy_(self.mean[name])
            self.mean[name] = kept

    def tensors(self) -> dict[str, Tensor]:
        """All that is kept, by name."""
        kept: dict[str, Tensor] = {}
        for name, weight in self.weights.items():
            slots = self.optimiser.state[weight]
            kept |= {f"weight/{name}": weight.detach(), f"mean/{name}": self.mean[name]}
            kept |= {f"{moment}/{name}": slots.get(moment, torch.zeros_like(weight)) for moment in _MOMENTS}
        return kept

    def save(self, folder: Path) -> None:
        """Write the state into a folder, atomically."""
        header = {"format": FORMAT, "settings": json.dumps(self.settings), "step": str(self.step)}
        tensors = {name: value.cpu().contiguous() for name, value in self.tensors().items()}
        write_bytes(folder / STATE_FILE, save(tensors, header))

    def resume(self, folder: Path) -> bool:
        """Go on from the folder's state; False where there is none.

        Raises:
            TrainingError: the state is damaged, or of a run with other settings; the message names them.
        """
        path = folder / STATE_FILE
        if not is_file(path):
            return False
        try:
            with TensorFile(path) as opened:
                header, stored = opened.metadata, read_tensors(opened)
            settings, step = parse_json(header["settings"]), int(header["step"])
        except (OSError, KeyError, ValueError) as error:
            raise TrainingError(f"{path} is damaged: {error}. Start anew with another --out.") from error
        other = [
            f"{name}: {settings.get(name)!r}" for name in self.settings if settings.get(name) != self.settings[name]
        ]
        if header.get("format") != FORMAT or other:
            raise TrainingError(
                f"{path} belongs to a run with other settings ({', '.join(other) or 'another format'}). "
                "Resume with the same settings, or start anew with another --out."
            )
        expected = self.tensors()
        if {name: value.shape for name, value in stored.items()} != {n: v.shape for n, v in expected.items()}:
            raise TrainingError(f"{path} holds other weights than these towers have. Start anew with another --out.")
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(stored[f"weight/{name}"])
                self.mean[name] = stored[f"mean/{name}"].to(weight.device)
                slots = self.optimiser.state[weight]
                slots["step"] = torch.tensor(float(step))
                for moment in _MOMENTS:
                    slots[moment] = stored[f"{moment}/{name}"].to(weight.device)
        self.step = step
        return True
