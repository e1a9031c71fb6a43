"""Weights of several graphs in one external-data file, each tensor stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import onnx

from clsclip_runtime.paths import write_bytes, write_file

WEIGHTS_FILE = "vision.weights"
"""What the graphs of the image share."""

SMALLEST = 1024
"""Bytes below which a tensor stays inside its graph."""

ALIGNMENT = 64

VALUES = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
"""Fields in which a tensor may keep its values; INT8 zero points lie in ``int32_data``, one by one."""


def save_shared(models: Mapping[str, onnx.ModelProto], folder: Path, weights_file: str) -> None:
    """Write ``models`` (file name -> graph) into ``folder``; their weights go to ``weights_file`` beside them.

    A tensor that several graphs hold is written once: the trunk's weights serve ``segmenter.onnx`` and ``trunk.onnx``.
    ``models`` are not changed.
    """
    places: dict[str, tuple[int, int]] = {}

    def write(blob: IO[bytes]) -> None:
        for name, model in models.items():
            written = onnx.ModelProto()
            written.CopyFrom(model)
            for tensor in written.graph.initializer:
                raw = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(raw) < SMALLEST:
                    continue
                digest = hashlib.sha256(raw).hexdigest()
                if digest not in places:
                    blob.write(b"\0" * (-blob.tell() % ALIGNMENT))
                    places[digest] = (blob.tell(), len(raw))
                    blob.write(raw)
                point_to(tensor, weights_file, *places[digest])
            write_bytes(folder / name, written.SerializeToString())

    write_file(folder / weights_file, write)


def point_to(tensor: onnx.TensorProto, file: str, offset: int, length: int) -> None:
    """Replace a tensor's own bytes by a reference into ``file``."""
    for field in VALUES:
        tensor.ClearField(field)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
