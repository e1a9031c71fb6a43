"""One TensorRT build: parse, profile, configure, build. Knows TensorRT, and nothing of bundles."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clsclip_export.engines.options import EngineOptions
from clsclip_export.errors import EngineError, ProfileError
from clsclip_export.profiles import AXES, Profile
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition
from clsclip_runtime.cli.stopping import as_event
from clsclip_runtime.paths import is_file
from clsclip_runtime.protocols import GraphFile

LAST_LINES = 4
"""Error lines of TensorRT's log that go into a message."""

LAYERS_HEADING = "Layers:\n"
"""Begins the log message in which a verbose builder describes the engine that it made."""


class BuildLog:
    """Every line that TensorRT logs: all of them in memory, without the chatter in the file."""

    def __init__(self, edition: TensorRtEdition) -> None:
        self.lines: list[tuple[str, str]] = []
        trt, lines = edition.module, self.lines

        class Logger(trt.ILogger):  # type: ignore[name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                lines.append((str(severity).rpartition(".")[2], msg))

        self.logger = Logger()

    def errors(self) -> list[str]:
        """Messages of errors, in order, each once."""
        found = [" ".join(text.split()) for severity, text in self.lines if "ERROR" in severity]
        return list(dict.fromkeys(found))

    def layers(self) -> str | None:
        """The builder's own description of the engine, from a build with detailed verbosity."""
        return next((text for _, text in reversed(self.lines) if text.startswith(LAYERS_HEADING)), None)

    def text(self) -> str:
        """The log as a file: all but verbose lines, and the layers."""
        kept = [line for line in self.lines if line[0] != "VERBOSE" or line[1].startswith(LAYERS_HEADING)]
        return "".join(f"[{severity}] {text}\n" for severity, text in kept)


def build_plan(
    edition: TensorRtEdition,
    graph: GraphFile,
    options: EngineOptions,
    log: BuildLog,
    progress: Callable[[str, int, int], bool],
    timings: TimingCache | None = None,
) -> bytes:
    """Build a graph: the plan's bytes. ``timings`` of earlier builds save measuring kernels again.

    Raises:
        EngineError: TensorRT cannot read or build the graph; says everything that it said.
        ProfileError: the graph has a dynamic axis that a profile says nothing of.
        KeyboardInterrupt: the user, or ``progress``, ended it.
    """
    trt = edition.module
    builder = trt.Builder(log.logger)
    builder.max_threads = os.cpu_count() or 1
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.logger)
    # From memory, weights inside: so nothing that the file says leads to another one.
    if not parser.parse(graph.model()):
        raise EngineError(f"{edition.name} {edition.version} cannot read {graph.path.name}: {parser_errors(parser)}.")
    config = builder.create_builder_config()
    configure(edition, config, options)
    if timings is not None:
        timings.use(config)
    config.add_optimization_profile(optimization_profile(builder, network, options.profile, graph.path.name))
    with as_event() as interrupted:
        monitor = progress_monitor(edition, lambda *step: not interrupted.is_set() and progress(*step))
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
    if interrupted.is_set() or getattr(monitor, "ended", False):
        raise KeyboardInterrupt
    if plan is None:
        raise EngineError(f"{edition.name} {edition.version} cannot build {graph.path.name}: {failure(log)}")
    if timings is not None:
        timings.take(config)
    return bytes(plan)


class TimingCache:
    """How fast kernels were in earlier builds on this machine, in a file. TensorRT-RTX measures none.

    Args:
        path: the file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: bytes | None = None

    def use(self, config: Any) -> None:
        """Give the file's content to a build; one of another machine is refused by TensorRT, and begun anew."""
        content = self.path.read_bytes() if is_file(self.path) else b""
        if not config.set_timing_cache(config.create_timing_cache(content), ignore_mismatch=False):
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)

    def take(self, config: Any) -> None:
        """Keep what the build measured in ``content``, to be written by who writes the engine."""
        self.content = bytes(config.get_timing_cache().serialize())


def parser_errors(parser: Any) -> str:
    """Everything that the parser objects to, not only the first."""
    found = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(f"{one.node_operator()} {one.node_name()}: {' '.join(one.desc().split())}" for one in found)


def failure(log: BuildLog) -> str:
    """Why a build failed, and what to do."""
    errors = log.errors()[-LAST_LINES:] or ["it gave no reason"]
    text = "; ".join(errors)
    if "any implementation" in text or "OutOfMemory" in text or "out of memory" in text.lower():
        return f"{text}. This usually means too little memory: free the GPU, raise --workspace, or lower --pairs."
    if "CUDA_SUCCESS" in text or "Cuda Runtime" in text:
        return (
            f"{text}. This build needs a GPU, also with tensorrt-rtx: build it where one is, or leave out the option."
        )
    return f"{text}."


def configure(edition: TensorRtEdition, config: Any, options: EngineOptions) -> None:
    """Tell the builder the options.

    Raises:
        EngineError: this flavour does not know one.
    """
    trt, flags = edition.module, edition.module.BuilderFlag
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the precision can be proved
    if not options.tf32:
        config.clear_flag(flags.TF32)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.strip_weights:
        config.set_flag(flags.STRIP_PLAN)  # and refit with the ONNX file's own weights when it is loaded
    if edition.name == "tensorrt-rtx" and options.hardware_compatible:
        raise EngineError(
            "Engines of tensorrt-rtx fit every GPU that it knows, so --hardware-compatible means nothing. Leave it out."
        )
    if edition.name == "tensorrt-rtx" and options.version_compatible:
        raise EngineError(
            "tensorrt-rtx comes without the lean runtime that runs engines of other versions. "
            "Leave --version-compatible out."
        )
    if options.version_compatible:
        config.set_flag(flags.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS


def optimization_profile(builder: Any, network: Any, profile: Profile, name: str) -> Any:
    """Smallest, usual and largest shape of every input.

    Raises:
        ProfileError: an input has a dynamic axis of another name than ``C``, ``K`` and ``P``.
    """
    shapes = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        bounds: list[list[int]] = [[], [], []]
        for axis, size in enumerate(tensor.shape):
            axis_name = tensor.get_dimension_name(axis)
            if size < 0 and axis_name not in AXES:
                raise ProfileError(
                    f"{name} has the dynamic axis {axis_name or axis} in {tensor.name}, and profiles know "
                    f"{', '.join(AXES)}. Export it with fixed sizes."
                )
            for at, value in enumerate(profile.bounds(axis_name) if size < 0 else (size,) * 3):
                bounds[at].append(value)
        shapes.set_shape(tensor.name, *bounds)
    return shapes


def progress_monitor(edition: TensorRtEdition, step: Callable[[str, int, int], bool]) -> Any:
    """TensorRT's own progress, phase by phase, to ``step``; what that says ends the build."""
    trt = edition.module

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self.ended = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step_number: int) -> bool:
            go_on = step(phase_name, step_number + 1, self._steps.get(phase_name, 0))
            self.ended |= not go_on
            return go_on

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
