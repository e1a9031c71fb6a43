"""A bundle as a model repository of Triton: the runtime in one model, or a front of models that Triton runs itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsclip_export.errors import ExportError
from clsclip_runtime.backends.tensorrt.engine_files import engine_files
from clsclip_runtime.bundle import Bundle
from clsclip_runtime.bundle.folder import staged_folder
from clsclip_runtime.bundle.opening import IMAGE_ENCODER, MANIFEST, PRESENCE, STEM, TEXT_ENCODER, TRUNK
from clsclip_runtime.bundle.signature import Value
from clsclip_runtime.errors import BackendError
from clsclip_runtime.paths import link_or_copy, write_text

LAYOUTS = ("python", "graphs")
PLATFORMS = ("onnxruntime", "tensorrt")

MODEL = "clsclip"
BATCHED = (IMAGE_ENCODER, STEM, TEXT_ENCODER)
"""Graphs whose inputs and outputs all have one row for each image or word: Triton may join their requests. Pairs are
joined by the front."""

_GRAPHS = (IMAGE_ENCODER, STEM, TEXT_ENCODER, PRESENCE, TRUNK)
_TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "bfloat16": "TYPE_BF16", "int64": "TYPE_INT64"}
_TYPES |= {"int32": "TYPE_INT32", "uint8": "TYPE_UINT8", "bool": "TYPE_BOOL"}

_MODEL_PY = {
    "python": "from clsclip_serve.triton import RuntimeModel as TritonPythonModel\n\n__all__ = ['TritonPythonModel']\n",
    "graphs": "from clsclip_serve.triton import FrontModel as TritonPythonModel\n\n__all__ = ['TritonPythonModel']\n",
}


@dataclass(frozen=True)
class Repository:
    """What to write.

    Attributes:
        layout: ``python`` or ``graphs``.
        platform: what runs the graphs of the layout ``graphs``: ``onnxruntime``, or ``tensorrt`` for image encoder and
            trunk.
        engines: folder of TensorRT engines, for ``tensorrt``.
        gpu: models run on GPUs.
        instances: of each model.
        batch: requests that may share an execution.
        queue: requests that may wait; the next is answered 503.
        timeout_ms: for which one may wait.
        environment: folder of the virtual environment that has ``clsclip[serve]``; None is Triton's own Python.
    """

    layout: str = "python"
    platform: str = "onnxruntime"
    engines: Path | None = None
    gpu: bool = False
    instances: int = 1
    batch: int = 8
    queue: int = 64
    timeout_ms: int = 30_000
    environment: Path | None = None


def write_repository(folder: Path, out: Path, wanted: Repository, *, force: bool = False) -> list[str]:
    """Write a model repository; nothing is there until it is complete.

    Args:
        folder: the bundle.
        out: the repository.
        wanted: how.
        force: replace what stands at ``out``.

    Returns:
        Names of its models.

    Raises:
        BundleError: the bundle is damaged.
        ExportError: an engine is missing, or a graph has a type that Triton does not know.
        OutputError: it cannot be written.
    """
    bundle = Bundle.open(folder)
    graphs: list[str] = []
    with staged_folder(out, force=force) as staged:
        _front(bundle, staged / MODEL, wanted)
        if wanted.layout == "graphs":
            graphs = [
                one for one in (IMAGE_ENCODER, STEM, TEXT_ENCODER, PRESENCE, TRUNK) if one in bundle.manifest.files
            ]
            for name in graphs:
                _graph(bundle, name, staged, wanted)
    return [MODEL, *(f"{MODEL}_{Path(name).stem}" for name in graphs)]


def _front(bundle: Bundle, folder: Path, wanted: Repository) -> None:
    version = folder / "1"
    copied = version / "bundle.clsclip"
    copied.mkdir(parents=True)
    # A link out of the version's folder is refused by ONNX Runtime; another name of the same file is none.
    for name in (MANIFEST, *bundle.manifest.files):
        link_or_copy(bundle.folder / name, copied / name)
    write_text(version / "model.py", _MODEL_PY[wanted.layout])
    parameters = {"backend": "auto"}
    if wanted.layout == "graphs":
        parameters = {"encoder_batch": str(_crops(bundle, wanted))}
        if wanted.platform == "tensorrt":  # an engine has a largest call
            parameters["pairs_per_call"] = str(bundle.manifest.profile.pairs[2])
    if wanted.environment is not None:
        parameters["EXECUTION_ENV_PATH"] = str(wanted.environment)
    kind = "KIND_GPU" if wanted.gpu and wanted.layout == "python" else "KIND_CPU"
    write_text(
        folder / "config.pbtxt",
        f"""name: "{MODEL}"
backend: "python"
max_batch_size: {wanted.batch}
input [
  {{ name: "IMAGE" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "CLASSES" data_type: TYPE_STRING dims: [ -1 ] allow_ragged_batch: true }},
  {{ name: "OPTIONS" data_type: TYPE_STRING dims: [ 1 ] optional: true }}
]
output [
  {{ name: "MASKS" data_type: TYPE_STRING dims: [ -1 ] }},
  {{ name: "PRESENCE" data_type: TYPE_FP32 dims: [ -1 ] }},
  {{ name: "SIZE" data_type: TYPE_INT32 dims: [ 2 ] }},
  {{ name: "RESULT" data_type: TYPE_STRING dims: [ 1 ] }}
]
dynamic_batching {{
  max_queue_delay_microseconds: 5000
  default_queue_policy {{
    max_queue_size: {wanted.queue}
    timeout_action: REJECT
    default_timeout_microseconds: {wanted.timeout_ms * 1000}
  }}
}}
instance_group [ {{ kind: {kind} count: {wanted.instances} }} ]
"""
        + "".join(
            f'parameters {{ key: "{key}" value {{ string_value: "{_quoted(text)}" }} }}\n'
            for key, text in parameters.items()
        ),
    )


def _graph(bundle: Bundle, name: str, repository: Path, wanted: Repository) -> None:
    signature, model = bundle.signature(name), f"{MODEL}_{Path(name).stem}"
    version = repository / model / "1"
    version.mkdir(parents=True)
    on_tensorrt = wanted.platform == "tensorrt" and name in (IMAGE_ENCODER, STEM, TRUNK)
    if on_tensorrt:
        link_or_copy(_plan(wanted.engines, bundle, name), version / "model.plan")
    else:
        for file in bundle.digests(name):
            link_or_copy(bundle.folder / file, version / ("model.onnx" if file == name else file))
    batched = name in BATCHED
    most = wanted.batch if name == TEXT_ENCODER else _crops(bundle, wanted)
    lines = [
        f'name: "{model}"',
        'platform: "tensorrt_plan"' if on_tensorrt else 'backend: "onnxruntime"',
        f"max_batch_size: {most if batched else 0}",
        *_tensors("input", signature.inputs, batched),
        *_tensors("output", signature.outputs, batched),
    ]
    if batched:
        lines.append("dynamic_batching { }")
    kind = "KIND_GPU" if wanted.gpu or on_tensorrt else "KIND_CPU"
    lines.append(f"instance_group [ {{ kind: {kind} count: {wanted.instances} }} ]")
    write_text(repository / model / "config.pbtxt", "\n".join(lines) + "\n")


def _crops(bundle: Bundle, wanted: Repository) -> int:
    """The most images of a call of the encoder."""
    return min(wanted.batch, bundle.manifest.profile.crops[2]) if wanted.platform == "tensorrt" else wanted.batch


def _tensors(what: str, values: Sequence[Value], batched: bool) -> list[str]:
    lines = []
    for one in values:
        if one.dtype not in _TYPES:
            raise ExportError(
                f"{one.name} is of type {one.dtype}, which Triton does not know. Export with --fp16 or fp32"
            )
        sides: Sequence[Any] = one.shape[1:] if batched else one.shape
        dims = ", ".join(str(side) if isinstance(side, int) else "-1" for side in sides)
        lines.append(f'{what} [ {{ name: "{one.name}" data_type: {_TYPES[one.dtype]} dims: [ {dims} ] }} ]')
    return lines


def _plan(engines: Path | None, bundle: Bundle, name: str) -> Path:
    """The engine of a graph in a folder that ``--engine`` wrote. ExportError if there is none of this bundle's."""
    digests, other = bundle.digests(name), ""
    for one in engine_files(engines) if engines is not None else ():
        if isinstance(one, BackendError) or one.spec.graph != name:
            continue
        if dict(one.spec.onnx) == dict(digests):
            return one.plan
        other = f" (that of {one.plan.name} is of another bundle)"
    raise ExportError(
        f"{engines or 'no folder'} has no engine of this {name}{other}. Build it on the GPU that will run it: "
        "clsclip-export --from-bundle BUNDLE --engine tensorrt --engines DIR, then give --triton-engines DIR"
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
