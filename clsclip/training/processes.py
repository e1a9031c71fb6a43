"""Several processes on one machine or many, as ``torchrun`` starts them: who am I, sums, and one truth from rank 0.

Gradients are added up here and not by ``DistributedDataParallel``: a step's loss is a mean over the pairs of all
processes, whose shares differ in size, so what is needed is a plain sum, once a step, of a few million numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor

from clsclip.devices import choose_device
from clsclip.errors import TrainingError


@dataclass(frozen=True)
class Processes:
    """This process among all that train together.

    Attributes:
        rank: its number; 0 writes files and talks.
        count: how many there are.
        device: where it computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """True for the one process that writes."""
        return self.rank == 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace every float32 tensor by its sum over all processes; one message for all of them."""
        if self.count == 1:
            return
        packed = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(packed)
        unpack(packed, tensors)

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace every float32 tensor by that of rank 0."""
        if self.count == 1:
            return
        packed = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.broadcast(packed, src=0)
        unpack(packed, tensors)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            # A sum and not a barrier: NCCL's barrier has to guess the device.
            torch.distributed.all_reduce(torch.zeros(1, device=self.device))


def unpack(packed: Tensor, tensors: Sequence[Tensor]) -> None:
    """Split a flat tensor into the shapes of ``tensors``, in place."""
    parts = packed.split([tensor.numel() for tensor in tensors])
    with torch.no_grad():
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the group that ``torchrun`` describes in the environment, or be alone.

    Args:
        device: "auto", or a device of torch; of "cuda" every process takes the one of its local rank.

    Raises:
        DeviceError: the device is not there.
    """
    chosen = choose_device(device)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda" and chosen.index is None:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"Process {local} of this machine has no GPU; there are {torch.cuda.device_count()}. "
                "Start as many processes as there are GPUs: torchrun --nproc-per-node"
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    joined_before = torch.distributed.is_initialized()
    if not joined_before:
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), torch.distributed.get_world_size(), chosen)
    finally:
        if not joined_before:
            torch.distributed.destroy_process_group()
