"""What an engine is built with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from clsclip_export.profiles import Profile


@dataclass(frozen=True)
class EngineOptions:
    """What the builder is told besides the graph.

    Attributes:
        profile: sizes that the engines take.
        workspace_mib: bound on the memory of one layer while building and running; None leaves it to TensorRT.
        version_compatible: later versions of the same major may run the engine, somewhat slower.
        hardware_compatible: other GPUs of the same or a newer generation may run it, somewhat slower.
        strip_weights: leave the weights out of the plan; they come from the ONNX when it is loaded.
        tf32: round FP32 products to 10 bits of mantissa, which is fast and no longer FP32.
        optimization_level: 0 to 5, how long to look for fast kernels; None is the flavour's own.
    """

    profile: Profile
    workspace_mib: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    strip_weights: bool = False
    tf32: bool = False
    optimization_level: int | None = None

    def flags(self) -> dict[str, Any]:
        """All but the profile, for the key."""
        return {name: value for name, value in asdict(self).items() if name != "profile"}
