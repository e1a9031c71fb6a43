"""Which TensorRT is here. There are two, with nearly the same interface; nothing else knows that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from clsclip_runtime.errors import BackendError, OptionError

EDITIONS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Python module by name, in the order in which they are looked for."""

PACKAGES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt-rtx-cu13"}
"""What pip calls them."""

OLDEST = {"tensorrt": (10, 12), "tensorrt-rtx": (1, 1)}
"""Older versions are refused: engines of strongly typed networks behave differently there."""


@dataclass(frozen=True, eq=False)
class TensorRtEdition:
    """One TensorRT.

    Attributes:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        module: its Python module.
        version: as the module states it, such as ``1.7.1.116``.
    """

    name: str
    module: Any
    version: str

    @property
    def builds_without_gpu(self) -> bool:
        """TensorRT-RTX compiles for the GPU only when an engine is loaded."""
        return self.name == "tensorrt-rtx"


def find_edition(name: str | None = None) -> TensorRtEdition:
    """The flavour called ``name``, or the first that is installed.

    Raises:
        OptionError: there is no flavour of this name.
        BackendError: none is installed, or it is too old or broken.
    """
    if name is not None and name not in EDITIONS:
        raise OptionError(f"there is no TensorRT flavour {name!r}. Choose one of: {', '.join(EDITIONS)}")
    reasons = []
    for one in [name] if name else EDITIONS:
        try:
            return _load(one)
        except BackendError as error:
            reasons.append(str(error))
    raise BackendError("; ".join(reasons))


def _load(name: str) -> TensorRtEdition:
    try:
        module: Any = import_module(EDITIONS[name])
    except ImportError as error:
        where = "; its libraries come from NVIDIA's own index" if name == "tensorrt" else ""
        raise BackendError(f"{name} is not installed ({error}){where}. Run: pip install {PACKAGES[name]}") from error
    except Exception as error:  # a library of another CUDA, or one that is missing
        raise BackendError(
            f"{name} is installed and cannot be loaded: {error}. Run: pip install --force-reinstall {PACKAGES[name]}"
        ) from error
    version = str(getattr(module, "__version__", "0"))
    if version_numbers(version)[:2] < OLDEST[name]:
        oldest = ".".join(map(str, OLDEST[name]))
        raise BackendError(
            f"{name} {version} is too old: {oldest} or newer is needed. Run: pip install --upgrade {PACKAGES[name]}"
        )
    return TensorRtEdition(name, module, version)


def version_numbers(version: str) -> tuple[int, ...]:
    """``"10.16.1"`` -> (10, 16, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
