"""Build the engines of a bundle, prove what they are, and keep them under a name that says so."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clsclip_export.engines.inspect import Inspection, inspect_build, prove_precision
from clsclip_export.engines.options import EngineOptions
from clsclip_export.engines.trt import BuildLog, TimingCache, build_plan
from clsclip_export.errors import EngineError, ProfileError
from clsclip_export.profiles import AXES
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition, version_numbers
from clsclip_runtime.backends.tensorrt.engine_files import (
    ANY_GPU,
    SCHEMA_VERSION,
    EngineFile,
    EngineSpec,
    Machine,
    plan_version,
    read_engine,
    read_plan,
)
from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace
from clsclip_runtime.bundle.opening import DETECTOR, IMAGE_ENCODER, PRESENCE, STEM, TEXT_ENCODER, TRUNK, Bundle
from clsclip_runtime.bundle.signature import Signature
from clsclip_runtime.errors import BackendError
from clsclip_runtime.paths import is_file, write_bytes, write_json, write_text
from clsclip_runtime.scratch import sweep

GRAPHS = (TEXT_ENCODER, IMAGE_ENCODER, STEM, PRESENCE, TRUNK)
"""What the runtime runs; a detector comes on top where the bundle has one. ``segmenter.onnx`` is these in one."""

ITS_OWN = "its own"
"""Precision of a detector: it comes from elsewhere and is left as it is, so there is nothing to prove."""


@dataclass(frozen=True)
class Built:
    """One engine that is there now.

    Attributes:
        engine: it.
        reused: it was there before.
        seconds: that it took, the check of an existing one included.
    """

    engine: EngineFile
    reused: bool
    seconds: float

    def line(self) -> str:
        """For people."""
        document = self.engine.document
        what = "reused" if self.reused else "built"
        size = document["plan_bytes"] / 2**20
        held = ", ".join(f"{share:.1%} {name}" for name, share in document["weights"].items())
        return (
            f"[ok] {self.engine.spec.graph:18} {what} in {self.seconds:.2f} s: {self.engine.plan.name} "
            f"{size:.1f} MiB, weights {held or 'none'}"
        )


Progress = Callable[[str, int, int], bool]
"""(phase, steps done, steps) -> whether to go on."""


def engine_spec(
    bundle: Bundle, graph: str, edition: TensorRtEdition, machine: Machine, options: EngineOptions
) -> EngineSpec:
    """What an engine of ``graph`` built now would be."""
    anywhere = edition.builds_without_gpu
    return EngineSpec(
        graph=graph,
        onnx=bundle.digests(graph),
        precision=precision_asked(bundle, graph),
        profile=options.profile.to_json(),
        edition=edition.name,
        version=edition.version,
        gpu=ANY_GPU if anywhere else str(machine.gpu),
        compute_capability=ANY_GPU if anywhere else str(machine.compute_capability),
        flags=options.flags(),
    )


def precision_asked(bundle: Bundle, graph: str) -> str:
    """What an engine of ``graph`` must be in."""
    if graph == DETECTOR:
        return ITS_OWN
    return "fp32" if graph == PRESENCE else bundle.manifest.precision


def build_engines(
    bundle: Bundle,
    edition: TensorRtEdition,
    machine: Machine,
    options: EngineOptions,
    *,
    place: EnginePlace | None = None,
    graphs: tuple[str, ...] | None = None,
    progress: Progress = lambda phase, done, steps: True,
) -> Iterator[Built]:
    """Build the engines of ``bundle`` that are not there yet, one after the other.

    Args:
        bundle: verified.
        edition: which TensorRT.
        machine: what they are built for.
        options: see there.
        place: where they are kept; None is the user's cache.
        graphs: files of the bundle; None is what the runtime runs.
        progress: told of every step; may end the build.

    Raises:
        EngineError: TensorRT cannot build one, or built it in another precision.
        OutputError: the folder cannot be written.
    """
    if bundle.manifest.precision == "int8":
        raise EngineError(
            f"{bundle.folder} is in INT8 with zero points, as CPUs like it best, and TensorRT takes none. Build the "
            "engines of a bundle in --fp16."
        )
    if not edition.builds_without_gpu and machine.gpu is None:
        raise EngineError(
            f"{edition.name} needs a GPU to build an engine, and none is usable here. Build where the engine will "
            "run, or use --engine tensorrt-rtx, whose builder needs none."
        )
    wanted = graphs or tuple(name for name in (*GRAPHS, DETECTOR) if name in bundle.manifest.files)
    for graph in wanted:
        yield build_engine(bundle, graph, edition, machine, options, progress, place or EnginePlace())


def build_engine(
    bundle: Bundle,
    graph: str,
    edition: TensorRtEdition,
    machine: Machine,
    options: EngineOptions,
    progress: Progress,
    place: EnginePlace,
) -> Built:
    """One engine; see :func:`build_engines`."""
    start = time.perf_counter()
    spec = engine_spec(bundle, graph, edition, machine, options)
    sidecar = place.writable(bundle.fingerprint) / f"{spec.key}.json"
    existing = usable(sidecar, edition)
    sweep(sidecar.parent)
    if existing is not None:
        return Built(existing, True, time.perf_counter() - start)
    axes, log, timings = graph_axes(graph, bundle.signature(graph)), BuildLog(edition), None
    if not edition.builds_without_gpu and place.folder is None:  # what others measured is not read
        timings = TimingCache(sidecar.with_name(f"{edition.name}-{edition.version}.timings"))
    try:
        plan = build_plan(edition, bundle.graph(graph), options, log, progress, timings)
        inspection = inspect_build(edition, plan, log)
        if spec.precision != ITS_OWN:
            prove_precision(graph, spec.precision, inspection)
    except EngineError as error:
        write_text(sidecar.with_suffix(".log"), log.text(), sync=True)
        raise EngineError(f"{error} The build log is {sidecar.with_suffix('.log')}.") from error
    document = describe(spec, plan, inspection, axes, time.perf_counter() - start)
    write_text(sidecar.with_suffix(".log"), log.text(), sync=True)
    if timings is not None and timings.content is not None:
        write_bytes(timings.path, timings.content, sync=True)
    write_bytes(sidecar.with_suffix(".plan"), plan, sync=True)
    write_json(sidecar, document, sync=True)
    return Built(read_engine(sidecar), False, time.perf_counter() - start)


def usable(sidecar: Path, edition: TensorRtEdition) -> EngineFile | None:
    """The finished engine at ``sidecar``; None if there is none or it is damaged, so that it is built again."""
    if not is_file(sidecar):
        return None
    try:
        engine = read_engine(sidecar)
        read_plan(engine, edition.version)
    except BackendError:
        return None
    return engine


def graph_axes(graph: str, signature: Signature) -> dict[str, dict[str, list[str | None]]]:
    """Names of the dynamic axes of every input and output; None for fixed ones.

    Raises:
        ProfileError: a profile says nothing of one.
    """
    found: dict[str, dict[str, list[str | None]]] = {}
    for kind, values in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        for value in values:
            names = [axis if isinstance(axis, str) else None for axis in value.shape]
            unknown = [name for name in names if name is not None and name not in AXES]
            if unknown:
                raise ProfileError(
                    f"{graph} has the dynamic axis {unknown[0] or '?'} in {value.name}, and profiles know "
                    f"{', '.join(AXES)}. Export it with fixed sizes."
                )
            found.setdefault(kind, {})[value.name] = names
    return found


def describe(
    spec: EngineSpec, plan: bytes, inspection: Inspection, axes: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """What stands beside a plan."""
    found = plan_version(plan)
    if found != version_numbers(spec.version)[: len(found)]:
        raise EngineError(
            f"{spec.edition} says that it is {spec.version}, and the plan that it built says {found}. Report this."
        )
    return {
        "schema_version": SCHEMA_VERSION,
        "key": spec.key,
        "spec": asdict(spec),
        "plan_sha256": hashlib.sha256(plan).hexdigest(),
        "plan_bytes": len(plan),
        "axes": axes,
        "weights": inspection.weight_shares(),
        "layers": inspection.layers,
        "inspected": inspection.source,
        "seconds": round(seconds, 2),
    }
