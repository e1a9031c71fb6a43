"""What precision an engine really has: its layers, as TensorRT itself describes them after the build.

A builder of detailed verbosity logs a description of what it made, which needs no GPU. Where it logs none, the engine
inspector reads the finished engine, which cannot be loaded without a GPU.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from clsclip_export.engines.trt import BuildLog
from clsclip_export.errors import EngineError
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition

TYPES = {"Float": "fp32", "FP32": "fp32", "Half": "fp16", "FP16": "fp16", "BFloat16": "bf16", "BF16": "bf16"}
"""TensorRT's names of types."""

MIN_SHARE = 0.9
"""Share of an engine's weights that must be in the precision asked for; the rest are islands of FP32."""

SMALLEST_WEIGHT = 1024
"""Values below which a constant is no weight: scales, biases and means may be FP32 in a half engine."""

_TENSOR = re.compile(r"\{ Name: [^,]*, Dimensions: \[([-\d,]*)\][^{}]*?Datatype: (\w+)")
_CONSTANTS = re.compile(r"Constants: \[(.*?)\](?=, Outputs:)", re.DOTALL)
_ANY_TYPE = re.compile(r"\b(" + "|".join(TYPES) + r")\b")


@dataclass(frozen=True)
class Inspection:
    """What an engine holds.

    Attributes:
        layers: how many it has.
        weights: values of its weights, by precision; empty where TensorRT does not list weights.
        tensors: inputs and outputs of its layers, by precision.
        source: where this was read: ``engine inspector`` or ``build log``.
    """

    layers: int
    weights: dict[str, int]
    tensors: dict[str, int]
    source: str

    def weight_shares(self) -> dict[str, float]:
        """Shares of the weights' values by precision, the largest first."""
        total = sum(self.weights.values())
        return {name: round(count / total, 4) for name, count in Counter(self.weights).most_common()} if total else {}


def inspect_build(edition: TensorRtEdition, plan: bytes, log: BuildLog) -> Inspection:
    """Read the layers of a plan that was built just now.

    Raises:
        EngineError: TensorRT describes no layers.
    """
    text, source = log.layers(), "build log"
    if text is None:
        text, source = inspector_text(edition, plan, log), "engine inspector"
    if not text:
        raise EngineError("TensorRT does not describe the engine that it built, so its precision cannot be proved.")
    return read_layers(text, source)


def inspector_text(edition: TensorRtEdition, plan: bytes, log: BuildLog) -> str | None:
    """What the engine inspector says of a plan; None where engines cannot be loaded."""
    trt = edition.module
    engine = trt.Runtime(log.logger).deserialize_cuda_engine(plan)
    if engine is None:
        return None
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.ONELINE))


def read_layers(text: str, source: str) -> Inspection:
    """Count layers, weights and tensors in TensorRT's description."""
    lines = [line for line in text.splitlines() if "LayerType:" in line or ("Name:" in line and "Inputs:" in line)]
    weights: Counter[str] = Counter()
    tensors: Counter[str] = Counter()
    for line in lines:
        constants = "".join(_CONSTANTS.findall(line))
        for size, kind in sized_types(constants):
            if size >= SMALLEST_WEIGHT:
                weights[kind] += size
        rest = _CONSTANTS.sub("", line)
        tensors.update(TYPES[name] for name in _ANY_TYPE.findall(rest))
    return Inspection(len(lines), dict(weights), dict(tensors), source)


def sized_types(text: str) -> Iterator[tuple[int, str]]:
    """(values, precision) of every tensor listed in ``text`` that has a float type."""
    for shape, name in _TENSOR.findall(text):
        if name in TYPES:
            yield math.prod(int(part) for part in shape.split(",") if part), TYPES[name]


def prove_precision(graph: str, precision: str, inspection: Inspection) -> None:
    """Check that an engine is in the precision that was asked for.

    Raises:
        EngineError: it is not.
    """
    found = inspection.weights or inspection.tensors
    total = sum(found.values())
    share = found.get(precision, 0) / total if total else 0.0
    enough = share == 1.0 if precision == "fp32" else share >= (MIN_SHARE if inspection.weights else 0.5)
    if not enough:
        held = ", ".join(f"{count / total:.0%} {name}" for name, count in Counter(found).most_common()) or "none"
        raise EngineError(
            f"The engine of {graph} was to be {precision}, and the {inspection.source} shows {held} in its "
            f"{'weights' if inspection.weights else 'tensors'}. It was not kept: export the bundle again."
        )
