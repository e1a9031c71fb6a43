"""ONNX files for engines, past the walls: what engines do with files that no wall lets through."""

from __future__ import annotations

from pathlib import Path

import onnx

from clsclip_runtime.protocols import GraphFile


def unwalked(path: Path) -> GraphFile:
    """The file at ``path`` as an engine would get it, whatever it holds; one that is no ONNX file is handed over as it
    is."""
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except Exception:
        return GraphFile(path, content, b"", ())
    inside = model.graph.SerializeToString()
    model.ClearField("graph")
    return GraphFile(path, model.SerializeToString(), inside, ())
