"""Segment any class that can be named, and train models that do.

    from clsclip import Segmenter

    result = Segmenter.load()("photo.jpg", classes=["bottle", "boat"])

All public names of ``clsclip_runtime`` are here too. Importing this package is cheap: they are loaded when they are
first used, and PyTorch only by the modules that train and evaluate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import clsclip_runtime as _runtime
from clsclip_runtime.renamed import missing_name

__all__ = list(_runtime.__all__)

if TYPE_CHECKING:
    from clsclip_runtime import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            value: object = getattr(_runtime, name)
            globals()[name] = value
            return value
        raise missing_name(__name__, name)


def __dir__() -> list[str]:
    return sorted(__all__)
