"""Devices of PyTorch by their names."""

from __future__ import annotations

import torch

from clsclip.errors import DeviceError


def choose_device(device: str) -> torch.device:
    """The device by name; "auto" is the GPU where there is one.

    Raises:
        DeviceError: unknown, or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {device!r}. Choose auto, cpu or cuda.") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"PyTorch finds no GPU, and the device is {device!r}. Choose --device cpu.")
    return chosen
