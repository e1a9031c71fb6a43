"""Cases that do nothing, quickly; made in the processes of the workers by name."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_bench.case import Spec, Workload
from clsclip_runtime.errors import BackendError

MODULE = "tests.benchmarks.clsclip_bench.doubles"


class Sleeper:
    """Sleeps, and notes when it was called."""

    def __init__(self, seconds: float = 0.001, note: str | None = None, logit: float | None = None) -> None:
        self._seconds, self._note, self._logit = seconds, note, logit
        self._workload = Workload(1, 1)

    def load(self) -> None:
        print("libraries print to standard output")
        print("and to standard error", file=sys.stderr)

    def prepare(self, workload: Workload) -> None:
        self._workload = workload

    def call(self) -> dict[str, float]:
        if self._note is not None:
            with open(self._note, "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(f"{os.getpid()}\n")
        time.sleep(self._seconds)
        return {"engine": self._seconds / 2}

    def facts(self) -> dict[str, Any]:
        return {"pairs": self._workload.pairs, "operations": 1e6 * self._workload.pairs}

    def logits(self) -> npt.NDArray[np.float32] | None:
        return None if self._logit is None else np.full((self._workload.classes, 2, 2), self._logit, np.float32)


class Unloadable(Sleeper):
    def load(self) -> None:
        raise BackendError("this engine is not here. Run: pip install engine")


class Dying(Sleeper):
    """Its process ends at the second call, as when memory runs out."""

    calls = 0

    def call(self) -> dict[str, float]:
        self.calls += 1
        if self.calls > 1:
            print("out of memory, goodbye", file=sys.stderr, flush=True)
            os._exit(7)
        return {}


class Hungry(Sleeper):
    """Takes 100 MiB."""

    def load(self) -> None:
        self._memory = np.ones(100 << 17)


class Product(Sleeper):
    """A peak of a billion operations in about a millisecond; there is none of bf16."""

    def __init__(self, precision: str, device: str, threads: int | None) -> None:
        super().__init__()
        self._precision = precision
        self._products = 0

    def load(self) -> None:
        if self._precision == "bf16":
            raise BackendError("no engine multiplies bf16")

    def call(self) -> dict[str, float]:
        time.sleep(self._seconds)
        self._products += 1
        return {"product": self._seconds}

    def facts(self) -> dict[str, Any]:
        return {
            "engine": "sleep" if self._products else "nothing yet",
            "size": 1,
            "operations": 1e9,
            "tried": {"sleep": 1e12},
        }


class DyingProduct(Product):
    """Its process ends in its second round."""

    calls = 0

    def call(self) -> dict[str, float]:
        self.calls += 1
        if self.calls > 1:
            os._exit(3)
        return super().call()


def spec(name: str, factory: str = "Sleeper", precision: str = "fp32", **options: Any) -> Spec:
    return Spec(name, f"{MODULE}:{factory}", options, precision)
