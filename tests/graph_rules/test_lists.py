"""The two lists of what ONNX graphs may hold are what their command writes from real exports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.graph_rules.observed import FILE, Observed, write

pytestmark = pytest.mark.slow


def test_bundles_hold_what_this_projects_exporters_write_and_nothing_else(tmp_path: Path) -> None:
    from tests.graph_rules.bundles import exports

    written = tmp_path / FILE.name
    shutil.copyfile(FILE, written)
    write(written, {"bundles": Observed().of(exports())})
    assert written.read_text("utf-8") == FILE.read_text("utf-8"), "run: python -m tests.graph_rules --only bundles"


def test_detectors_of_these_versions_are_in_their_list(tmp_path: Path) -> None:
    """The list holds more: exporters of other versions."""
    from tests.graph_rules.detectors import exports

    written = tmp_path / FILE.name
    shutil.copyfile(FILE, written)
    write(written, {"detectors": Observed().of(exports())})
    found, listed = (json.loads(path.read_text("utf-8"))["detectors"] for path in (written, FILE))
    assert listed["opsets"][0] <= found["opsets"][0]
    assert set(found["element_types"]) <= set(listed["element_types"])
    for name, one in found["operators"].items():
        known = listed["operators"][name]
        assert set(one["types"]) <= set(known["types"]), name
        assert set(one["attributes"]) <= set(known["attributes"]), name
        assert known["inputs"][0] <= one["inputs"][0] <= one["inputs"][1] <= known["inputs"][1], name
