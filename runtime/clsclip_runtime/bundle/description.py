"""What a manifest says about graphs, read from the graphs themselves: signatures, and features with their shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle.onnx_graph import NotOnnxError
from clsclip_runtime.bundle.opening import DETECTOR, PRESENCE, TRUNK
from clsclip_runtime.bundle.signature import Signature, Value, read_signature
from clsclip_runtime.bundle.specs import NEEDED_BY
from clsclip_runtime.errors import BundleError

READERS = dict(zip(NEEDED_BY, (TRUNK, PRESENCE), strict=True))
"""The graph behind each word of ``needed_by``."""

_AGAIN = "Get the bundle again, or export it again with clsclip-export"


def read_signatures(folder: Path) -> dict[str, Signature]:
    """Read the signature of every graph of a bundle but the detector, by file.

    Raises:
        BundleError: a file is not an ONNX graph.
    """
    found = {}
    for path in sorted(folder.glob("*.onnx")):
        if path.name != DETECTOR:
            try:
                found[path.name] = read_signature(path)
            except NotOnnxError as error:
                raise BundleError(f"{path.name} is not an ONNX graph ({error}). {_AGAIN}") from error
    return found


def describe_features(
    graphs: Mapping[str, Signature], maker: str, *, compared: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Describe what a graph gives and others read, as the manifest does.

    Args:
        graphs: signatures by file.
        maker: the file that gives the features.
        compared: features by which words are compared with class names; they stay although no graph may read them.

    Raises:
        BundleError: the graph does not state a size.
    """
    inputs = {reader: {one.name for one in graphs[file].inputs} for reader, file in READERS.items() if file in graphs}
    found = []
    for value in graphs[maker].outputs:
        needed_by = [reader for reader in inputs if value.name in inputs[reader]]
        if value.name in compared:
            needed_by = needed_by or ["presence"]
        if needed_by:
            shape = _fixed_shape(value, maker)
            found.append({"name": value.name, "shape": shape, "dtype": value.dtype, "needed_by": needed_by})
    return found


def _fixed_shape(value: Value, file: str) -> list[int]:
    sizes = [size for size in value.shape[1:] if isinstance(size, int)]
    if not value.shape or len(sizes) != len(value.shape) - 1:
        raise BundleError(
            f"{file} does not state the size of {value.name}, whose shape is {list(value.shape)}. Export the bundle "
            "again with clsclip-export"
        )
    return sizes
