"""What can be measured: anything that loads, and is then called again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any, Protocol


@dataclass(frozen=True)
class Workload:
    """How much one call has to do.

    Attributes:
        crops: pictures in one call.
        classes: words, asked of every picture.
    """

    crops: int
    classes: int

    @property
    def pairs(self) -> int:
        """Pairs where every word is segmented in every picture."""
        return self.crops * self.classes

    def __str__(self) -> str:
        """For people."""
        crops = "crop" if self.crops == 1 else "crops"
        return f"{self.crops} {crops} x {self.classes} {'class' if self.classes == 1 else 'classes'}"


class Case(Protocol):
    """One way to do a workload's work. Made, loaded and called in a process of its own."""

    def load(self) -> None:
        """Import and load all that is needed. BackendError or ImportError where that is not possible here."""
        ...

    def prepare(self, workload: Workload) -> None:
        """Make inputs; not timed."""
        ...

    def call(self) -> dict[str, float]:
        """Do the work once; figures of this call, such as seconds of its parts."""
        ...

    def facts(self) -> dict[str, Any]:
        """What is known after a call, as plain JSON types; ``pairs`` is how many were segmented."""
        ...

    def logits(self) -> Any:
        """(P, h, w) float32 of the last call, to compare with other ways; None where there are none."""
        ...


@dataclass(frozen=True)
class Spec:
    """A case, as told to the process that makes it.

    Attributes:
        name: for people, unique in a run.
        factory: ``package.module:name`` of what makes it.
        options: keyword arguments of the factory, plain JSON types.
        precision: in which it multiplies: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        device: ``cpu`` or ``gpu``.
        labels: what else the row says of it.
    """

    name: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    device: str = "cpu"
    labels: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    def make(self) -> Case:
        """Import the factory and call it."""
        module, _, name = self.factory.partition(":")
        case: Case = getattr(import_module(module), name)(**self.options)
        return case
