"""A bundle that its own runtime refuses replaces nothing, whatever was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from clsclip_export.trial import try_bundle
from clsclip_runtime.bundle.folder import staged_folder
from clsclip_runtime.errors import BackendError, BundleError
from tests.export.engine_bundles import embedded_bundle
from tests.runtime.tiny_bundle import make_bundle, sign


def spoil_manifest(key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        document = json.loads(path.read_text("utf-8"))
        part = document
        for name in key.split(".")[:-1]:
            part = part[name]
        part[key.split(".")[-1]] = value
        path.write_text(json.dumps(document), "utf-8")

    return change


def spoil_graph(folder: Path) -> None:
    """A trunk whose weights are not numbers."""
    path = folder / "trunk.onnx"
    model = onnx.load(path)
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype == np.float32:
            weight.CopyFrom(numpy_helper.from_array(np.full_like(array, np.nan), weight.name))
    path.write_bytes(model.SerializeToString())
    document = json.loads((folder / "manifest.json").read_text("utf-8"))
    sign(folder, document)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_manifest("name", " "),
        spoil_manifest("presence.threshold", 5),
        spoil_manifest("license", "MIT"),
        spoil_manifest("description", 5),
        spoil_manifest("text.templates", ["no blank"]),
        spoil_graph,
    ],
)
def test_the_old_bundle_stays(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    out = make_bundle(tmp_path / "model.clsclip")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises((BundleError, BackendError)) as told, staged_folder(out, force=True) as folder:
        for path in make_bundle(tmp_path / "new.clsclip").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        spoil(folder)
        try_bundle(folder)
    # To export the same again would mend nothing.
    if told.type is BundleError:
        assert "Mend what it is made of" in str(told.value) and "Export the bundle again" not in str(told.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.clsclip", "new.clsclip"]


def test_good_bundles_pass(tmp_path: Path) -> None:
    try_bundle(make_bundle(tmp_path / "tiny.clsclip"))
    try_bundle(embedded_bundle(tmp_path / "embedded.clsclip"))
