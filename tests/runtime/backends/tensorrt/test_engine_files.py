"""Engines on disk: their keys, their headers, and what is read back of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.backends.tensorrt.engine_files import (
    EngineSpec,
    Machine,
    engine_files,
    find_engine,
    plan_version,
    read_engine,
)
from clsclip_runtime.errors import BackendError
from tests.runtime.backends.fakes import MACHINE, PROFILE, engines_of, write_engine
from tests.runtime.tiny_bundle import make_bundle

pytestmark = pytest.mark.usefixtures("user_cache")

SPEC = EngineSpec("trunk.onnx", {"trunk.onnx": "0" * 64}, "fp16", PROFILE, "tensorrt", "11.4.0.1", "H200", "9.0", {})


@given(st.binary(max_size=80))
def test_headers_are_versions_or_refused(header: bytes) -> None:
    try:
        found = plan_version(header)
    except BackendError:
        assert len(header) < 28 or header[1:4] != b"trt"
    else:
        assert found == tuple(header[24:28])


@given(st.tuples(*[st.integers(0, 255)] * 4), st.binary(min_size=20, max_size=20), st.binary(max_size=40))
def test_versions_are_found_in_headers(version: tuple[int, ...], between: bytes, after: bytes) -> None:
    assert plan_version(b"ftrt" + between + bytes(version) + after) == version


def test_every_field_is_in_the_key() -> None:
    changes: dict[str, Any] = {
        "graph": "presence.onnx",
        "onnx": {"trunk.onnx": "1" * 64},
        "precision": "bf16",
        "profile": PROFILE | {"pairs": [1, 4, 7]},
        "edition": "tensorrt-rtx",
        "version": "11.4.0.2",
        "gpu": "H100",
        "compute_capability": "8.0",
        "flags": {"tf32": True},
    }
    keys = {replace(SPEC, **{name: value}).key for name, value in changes.items()} | {SPEC.key}
    assert len(keys) == 1 + len(changes)
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys)
    assert replace(SPEC, onnx=dict(SPEC.onnx)).key == SPEC.key


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"schema_version": 1}', b'{"schema_version": "x"}'])
def test_damaged_sidecars(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "0123456789abcdef.json"
    path.write_bytes(content)
    with pytest.raises(BackendError, match=r"is damaged|cannot be read"):
        read_engine(path)
    path.write_text(json.dumps({"schema_version": 99}), "utf-8")
    with pytest.raises(BackendError, match="of a newer clsclip"):
        read_engine(path)


def test_unfinished_engines_are_not_seen(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.clsclip")
    plan = write_engine(bundle / "trunk.onnx")
    assert [one.plan for one in engine_files(engines_of(bundle)) if not isinstance(one, BackendError)] == [plan]
    assert find_engine(engines_of(bundle), bundle, "trunk.onnx", MACHINE, None)[0].plan == plan
    plan.with_suffix(".json").unlink()
    assert list(engine_files(engines_of(bundle))) == []
    with pytest.raises(BackendError, match=r"has no engine of trunk\.onnx of .* for tensorrt"):
        find_engine(engines_of(bundle), bundle, "trunk.onnx", MACHINE, None)


def test_one_good_engine_beside_bad_ones_is_found(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.clsclip")
    for changes in ({"gpu": "A"}, {"version": "10.12.0.1"}, {"edition": "tensorrt-rtx"}, {"onnx": {"trunk.onnx": "x"}}):
        write_engine(bundle / "trunk.onnx", **changes)
    (engines_of(bundle) / "ffffffffffffffff.json").write_text("{", "utf-8")
    with pytest.raises(BackendError) as caught:
        find_engine(engines_of(bundle), bundle, "trunk.onnx", MACHINE, {"trunk.onnx": "y"})
    assert str(caught.value).count("built") >= 4
    good = write_engine(bundle / "trunk.onnx")
    digests = json.loads(good.with_suffix(".json").read_text("utf-8"))["spec"]["onnx"]
    assert find_engine(engines_of(bundle), bundle, "trunk.onnx", MACHINE, digests)[0].plan == good
    other = Machine("tensorrt", MACHINE.version, "NVIDIA L4", "8.9")
    with pytest.raises(BackendError, match="Engines are not portable"):
        find_engine(engines_of(bundle), bundle, "trunk.onnx", other, digests)
