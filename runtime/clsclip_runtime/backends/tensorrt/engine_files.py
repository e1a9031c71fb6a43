"""Engines in a folder: ``<key>.plan``, what it is in ``<key>.json``, and how it was built in ``<key>.log``.

The key is a digest of all that makes an engine what it is, so a wrong engine cannot have the right name. The plan holds
the engine and nothing else. The JSON is written last: a plan without one was never finished, and is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition, version_numbers
from clsclip_runtime.documents import DocumentError, read_json
from clsclip_runtime.errors import BackendError
from clsclip_runtime.options import is_name

SCHEMA_VERSION = 1
ANY_GPU = "any"

_MAGIC = b"trt"
_VERSION_BYTES = slice(24, 28)
_HEADER_BYTES = 64
_KEY_DIGITS = 16
_TEXT_CHARACTERS = 1024

AXIS_NAMES = {"C": "crops", "K": "classes", "P": "pairs"}
"""Axes of a profile by their letters in a graph."""


@dataclass(frozen=True)
class EngineSpec:
    """All that an engine's key is made of.

    Attributes:
        graph: file of the bundle, such as ``trunk.onnx``.
        onnx: SHA-256 of the graph and of every file that holds its weights, by name.
        precision: of the bundle.
        profile: for every dynamic axis, smallest, usual and largest: ``{"crops": [1, 1, 4], ...}``.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        version: of the flavour.
        gpu: its name, or ``any``.
        compute_capability: such as ``9.0``, or ``any``.
        flags: what else the builder was told.
    """

    graph: str
    onnx: Mapping[str, str]
    precision: str
    profile: Mapping[str, list[int]]
    edition: str
    version: str
    gpu: str
    compute_capability: str
    flags: Mapping[str, Any]

    @property
    def key(self) -> str:
        """16 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


@dataclass(frozen=True)
class Machine:
    """What engines must fit.

    Attributes:
        flavour, version: of the TensorRT that is here.
        gpu, compute_capability: of the GPU that is used; None where there is none.
    """

    edition: str
    version: str
    gpu: str | None
    compute_capability: str | None

    def __str__(self) -> str:
        """For messages."""
        gpu = f"{self.gpu} (sm_{_digits(self.compute_capability)})" if self.gpu else "no GPU"
        return f"{self.edition} {self.version} on {gpu}"


@dataclass(frozen=True)
class EngineFile:
    """One finished engine.

    Attributes:
        plan: its path.
        spec: what it is.
        document: the whole JSON.
    """

    plan: Path
    spec: EngineSpec
    document: Mapping[str, Any]


def this_machine(edition: TensorRtEdition) -> Machine:
    """What engines of ``edition`` must fit here: the first GPU counts."""
    gpus = ask_driver().gpus
    if not gpus:
        return Machine(edition.name, edition.version, None, None)
    return Machine(edition.name, edition.version, gpus[0].name, gpus[0].compute_capability)


def read_engine(sidecar: Path) -> EngineFile:
    """Read one ``<key>.json``.

    Raises:
        BackendError: it cannot be read, is of a newer layout, or its key is not the digest of what it states.
    """
    try:
        document = read_json(sidecar)
        version = document.get("schema_version") if isinstance(document, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise BackendError(f"{sidecar} is of a newer clsclip. Upgrade clsclip, or build the engine again")
        problem = _problem(document)
    except (OSError, DocumentError) as error:
        raise BackendError(f"{sidecar} cannot be read ({error}). Build the engine again") from error
    if problem is not None:
        raise BackendError(f"{sidecar} is damaged: {problem} is not as it must be. Build the engine again")
    spec, stated = EngineSpec(**document["spec"]), document["key"]
    if spec.key != stated or sidecar.stem != stated:
        raise BackendError(f"{sidecar} was changed: its key is not the digest of what it states. Build it again")
    return EngineFile(sidecar.with_suffix(".plan"), spec, document)


def _problem(document: Any) -> str | None:
    """The first key of a sidecar that has a wrong type; None where all are right."""
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        return "schema_version"
    for key, fits in _TYPES.items():
        if not fits(document.get(key)):
            return key
    spec = document["spec"]
    if set(spec) != set(_SPEC_TYPES):
        return "spec"
    return next((f"spec.{key}" for key, fits in _SPEC_TYPES.items() if not fits(spec[key])), None)


def _text(value: object) -> bool:
    return isinstance(value, str) and is_name(value, _TEXT_CHARACTERS)


def _version(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}){0,5}", value) is not None


def _texts(value: object) -> bool:
    return isinstance(value, dict) and all(_text(key) and _text(one) for key, one in value.items())


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _bounds(value: object) -> bool:
    """Three ascending numbers for every axis that is known."""
    if not isinstance(value, dict) or not set(value) <= set(AXIS_NAMES.values()):
        return False
    return all(
        isinstance(one, list) and len(one) == 3 and all(map(_whole, one)) and 1 <= one[0] <= one[1] <= one[2] < 2**31
        for one in value.values()
    )


def _flags(value: object) -> bool:
    return isinstance(value, dict) and all(one is None or isinstance(one, (bool, int, str)) for one in value.values())


def _axes(value: object) -> bool:
    """For inputs and outputs, by name, one of :data:`AXIS_NAMES` or null for every axis."""
    if not isinstance(value, dict) or set(value) != {"inputs", "outputs"}:
        return False
    return all(
        isinstance(tensors, dict)
        and all(
            isinstance(one, list) and all(axis is None or axis in AXIS_NAMES for axis in one)
            for one in tensors.values()
        )
        for tensors in value.values()
    )


_TYPES: dict[str, Callable[[Any], bool]] = {
    "key": _text,
    "spec": lambda value: isinstance(value, dict),
    "plan_sha256": lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None,
    "plan_bytes": _whole,
    "axes": _axes,
}
_SPEC_TYPES: dict[str, Callable[[Any], bool]] = {
    "graph": _text,
    "onnx": _texts,
    "precision": _text,
    "profile": _bounds,
    "edition": _text,
    "version": _version,
    "gpu": _text,
    "compute_capability": lambda value: value == ANY_GPU or _version(value),
    "flags": _flags,
}


def engine_files(folder: Path) -> Iterator[EngineFile | BackendError]:
    """Every engine in ``folder``, and an error for every one that cannot be read."""
    for sidecar in sorted(folder.glob("*.json")):
        try:
            yield read_engine(sidecar)
        except BackendError as error:
            yield error


def misfit(engine: EngineFile, machine: Machine, digests: Mapping[str, str] | None) -> str | None:
    """Why an engine does not fit; None when it does.

    Args:
        engine: it.
        machine: where it shall run.
        digests: of the graph as it is now; None does not compare.
    """
    spec = engine.spec
    if digests is not None and dict(spec.onnx) != dict(digests):
        return f"{engine.plan} was built from another {spec.graph} than the bundle's"
    built = Machine(spec.edition, spec.version, spec.gpu, spec.compute_capability)
    portable = (
        spec.flags.get("version_compatible") and version_numbers(spec.version)[0] == version_numbers(machine.version)[0]
    )
    wrong = (
        spec.edition != machine.edition
        or (spec.version != machine.version and not portable)
        or (machine.gpu is not None and not _gpu_fits(spec, machine))
    )
    if not wrong:
        return None
    on = "any GPU of its kind" if spec.gpu == ANY_GPU else f"{spec.gpu} (sm_{_digits(spec.compute_capability)})"
    return f"{engine.plan} was built by {built.edition} {built.version} for {on}; this machine has {machine}"


def find_engine(
    folder: Path, bundle: Path, graph: str, machine: Machine, digests: Mapping[str, str] | None
) -> tuple[EngineFile, bytes]:
    """The engine of ``graph`` that fits this machine, and its plan, verified.

    Args:
        folder: of engines.
        bundle: whose they are, for messages.
        graph: file of the bundle.
        machine: where it shall run.
        digests: of the graph as it is now; None does not compare.

    Raises:
        BackendError: there is none; says which there are and why they do not fit.
    """
    command = build_command(bundle, machine.edition)
    reasons = []
    for engine in engine_files(folder):
        if isinstance(engine, BackendError):
            reasons.append(str(engine))
        elif engine.spec.graph == graph:
            reason = misfit(engine, machine, digests)
            if reason is None:
                return engine, read_plan(engine, machine.version)
            reasons.append(reason)
    if not reasons:
        raise BackendError(f"{folder} has no engine of {graph} of {bundle} for {machine}. {command}")
    raise BackendError(f"{'; '.join(reasons)}. Engines are not portable. {command}")


def build_command(bundle: Path, edition: str) -> str:
    """What builds the engines of a bundle."""
    return f"Run: clsclip-export --from-bundle {bundle} --engine {edition}"


def read_plan(engine: EngineFile, version: str | None = None) -> bytes:
    """Read a plan once, and check its size, its digest and the version in its header.

    Raises:
        BackendError: it is missing, damaged, or of another version than its JSON, or ``version``, says.
    """
    plan, document = engine.plan, engine.document
    command = f"Build it again: clsclip-export --from-bundle BUNDLE --engine {engine.spec.edition}"
    try:
        with plan.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != document["plan_bytes"]:
                raise BackendError(f"{plan} is damaged: {size} bytes instead of {document['plan_bytes']}. {command}")
            content = file.read(size)
    except OSError as error:
        raise BackendError(f"{plan} cannot be read: {error.strerror or error}. {command}") from error
    if hashlib.sha256(content).hexdigest() != document["plan_sha256"]:
        raise BackendError(f"{plan} is damaged: its SHA-256 is not the one that it was built with. {command}")
    found = plan_version(content[:_HEADER_BYTES])
    for wanted in (engine.spec.version, version):
        portable = engine.spec.flags.get("version_compatible")
        if wanted is not None and not portable and found != version_numbers(wanted)[: len(found)]:
            raise BackendError(
                f"{plan} was built by {engine.spec.edition} {'.'.join(map(str, found))}, and {wanted} is needed. "
                f"Engines are not portable between versions. {command}"
            )
    return content


def plan_version(header: bytes) -> tuple[int, ...]:
    """The version in a plan's first bytes: (major, minor, patch, build).

    Raises:
        BackendError: they are not the beginning of a plan.
    """
    if len(header) < _VERSION_BYTES.stop or header[1:4] != _MAGIC:
        raise BackendError("this is no TensorRT plan: its first bytes are not those of one. Build the engine again")
    return tuple(header[_VERSION_BYTES])


def _gpu_fits(spec: EngineSpec, machine: Machine) -> bool:
    if spec.gpu == ANY_GPU:
        return True
    if spec.flags.get("hardware_compatible") and spec.compute_capability != ANY_GPU:
        here, built = (version_numbers(text or "0") for text in (machine.compute_capability, spec.compute_capability))
        return here >= built
    return spec.gpu == machine.gpu and spec.compute_capability == machine.compute_capability


def _digits(capability: str | None) -> str:
    return (capability or "?").replace(".", "")
