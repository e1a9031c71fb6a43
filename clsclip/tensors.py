"""Tensors of safetensors files for PyTorch; the files are read by the runtime's one reader."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from clsclip_runtime.tensor_files import ITEM_BYTES, TensorFile, TensorFileError

_TYPES = {
    **{"BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32},
    **{"I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64},
}
"""PyTorch's types by the format's names; the format has some that no weights come in."""


def read_tensor(file: TensorFile, name: str) -> Tensor:
    """A tensor of an open file, in memory of its own.

    Raises:
        TensorFileError: its type is none that weights come in, or the file has been cut.
    """
    info = file.tensors[name]
    dtype = _TYPES.get(info.dtype)
    if dtype is None:
        raise TensorFileError(
            f"{name} is {info.dtype}, and weights are {', '.join(sorted(_TYPES.keys() & ITEM_BYTES.keys()))}"
        )
    if info.start == info.end:
        return torch.empty(info.shape, dtype=dtype)
    return torch.frombuffer(file.read(name), dtype=dtype).reshape(info.shape)


def read_weights(file: TensorFile) -> dict[str, Tensor]:
    """All tensors of an open file by name, in FP32.

    Raises:
        TensorFileError: one is of whole numbers, not finite, or larger than FP32 holds, or the file has been cut.
    """
    found = {}
    for name, value in read_tensors(file).items():
        if not value.is_floating_point():
            raise TensorFileError(f"{name} is {file.tensors[name].dtype}, and weights are of a floating type")
        found[name] = value.float()
    wrong = first_not_finite(found)
    if wrong is not None:
        raise TensorFileError(f"{wrong} holds NaN or infinity; training diverged or the file is damaged")
    return found


def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None where there is none."""
    return next((name for name, value in weights.items() if not bool(torch.isfinite(value).all())), None)


def read_tensors(file: TensorFile) -> dict[str, Tensor]:
    """All tensors of an open file by name; see :func:`read_tensor`."""
    return {name: read_tensor(file, name) for name in file.tensors}
