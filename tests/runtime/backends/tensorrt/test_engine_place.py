"""Engines come from this user's cache, or from a folder that the user trusts, and from nowhere else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from clsclip_runtime import Segmenter
from clsclip_runtime.backends.tensorrt.backend import TensorRt
from clsclip_runtime.backends.tensorrt.engine_files import EngineSpec, engine_files, find_engine, read_engine
from clsclip_runtime.backends.tensorrt.engine_place import FOLDER, EnginePlace, passed_over
from clsclip_runtime.bundle import Bundle
from clsclip_runtime.errors import BackendError, OptionError, OutputError
from tests.runtime.backends.fakes import MACHINE, FakeCuda, FakeTensorRt, engines_of, make_engine_bundle, write_engine
from tests.runtime.tiny_bundle import make_bundle, paint

pytestmark = pytest.mark.usefixtures("user_cache")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(make_engine_bundle(tmp_path / "tiny.clsclip"))


def backend(place: EnginePlace | None = None, fake: FakeTensorRt | None = None) -> TensorRt:
    cuda = FakeCuda()
    return TensorRt((fake or FakeTensorRt(cuda)).edition(), cuda=cuda, machine=MACHINE, place=place)


def moved(bundle: Bundle, folder: Path) -> Path:
    """The engines of a bundle in another place than the cache."""
    shutil.move(engines_of(bundle.folder), folder)
    return folder


def test_the_cache_belongs_to_the_user_alone(user_cache: Path, bundle: Bundle) -> None:
    own = user_cache / "engines" / bundle.fingerprint
    assert EnginePlace().readable(bundle.fingerprint) == own
    assert [path.stat().st_mode & 0o777 for path in (own, own.parent)] == [0o700, 0o700]
    assert backend().load(bundle.graph("trunk.onnx")).outputs == ("mask_logits",)
    for path in (own, own.parent):
        path.chmod(0o770)
        with pytest.raises(BackendError, match=rf"is open to other users \(mode 770\).*chmod 700 {path}"):
            backend().load(bundle.graph("trunk.onnx"))
        path.chmod(0o700)
    other = own.with_name("other")
    own.rename(other)
    own.symlink_to(other)
    with pytest.raises(BackendError, match="is no folder"):
        backend().load(bundle.graph("trunk.onnx"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="a system without owners")
def test_another_users_cache_is_not_loaded_from(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(BackendError, match="belongs to another user"):
        backend().load(bundle.graph("trunk.onnx"))
    with pytest.raises(BackendError, match="belongs to another user"):
        EnginePlace().writable(bundle.fingerprint)


def test_a_bundles_own_engines_are_passed_over(bundle: Bundle) -> None:
    moved(bundle, bundle.folder / FOLDER)
    with pytest.raises(BackendError, match=r"has no engine of trunk\.onnx of .*; engines/ in .* is passed over"):
        backend().load(bundle.graph("trunk.onnx"))
    with Segmenter.load(bundle.folder, "onnxruntime-cpu") as segmenter:
        assert segmenter(paint({}), ["red"]).backend_notes == passed_over(bundle.folder) != ()
    write_engine(bundle.folder / "trunk.onnx")
    assert backend().load(bundle.graph("trunk.onnx")).outputs == ("mask_logits",)
    assert passed_over(bundle.folder, bundle.folder / FOLDER) == ()
    assert passed_over(bundle.folder, bundle.folder) != ()


def test_other_folders_are_loaded_from_when_they_are_trusted(bundle: Bundle, tmp_path: Path) -> None:
    folder = moved(bundle, tmp_path / "built elsewhere")
    with pytest.raises(OptionError, match=r"not this user's cache.*trust_engines=True \(--trust-engines\)"):
        EnginePlace(folder).readable(bundle.fingerprint)
    with pytest.raises(BackendError, match="has no engine"):
        backend().load(bundle.graph("trunk.onnx"))
    assert backend(EnginePlace(folder, trusted=True)).load(bundle.graph("trunk.onnx")).outputs == ("mask_logits",)
    with pytest.raises(OptionError, match="not this user's cache"):
        Segmenter.load(bundle.folder, engines=folder)
    with pytest.raises(OptionError, match="Leave them out"):
        Segmenter.load(bundle.folder, "onnxruntime-cpu", engines=folder, trust_engines=True)
    with pytest.raises(OptionError, match="Give that too"):
        Segmenter.load(bundle.folder, trust_engines=True)
    assert EnginePlace(engines_of(bundle.folder)).readable(bundle.fingerprint) == engines_of(bundle.folder)


def test_without_a_cache(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSCLIP_CACHE", "off")
    with pytest.raises(BackendError, match=r"CLSCLIP_CACHE=off.*--engines DIR --trust-engines"):
        backend().load(bundle.graph("trunk.onnx"))
    with pytest.raises(OutputError, match="Give --engines DIR"):
        EnginePlace().writable(bundle.fingerprint)


@pytest.mark.parametrize("where", ["cache", "trusted"])
def test_host_code_is_allowed_for_own_engines_that_need_it(where: str, tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "tiny.clsclip"))
    write_engine(bundle.folder / "trunk.onnx", flags={"version_compatible": True})
    write_engine(bundle.folder / "presence.onnx")
    place = None if where == "cache" else EnginePlace(moved(bundle, tmp_path / "engines"), trusted=True)
    ours = backend(place)
    ours.load(bundle.graph("trunk.onnx"))
    assert ours._runtime.engine_host_code_allowed is True
    ours.load(bundle.graph("presence.onnx"))
    assert ours._runtime.engine_host_code_allowed is False, "it is no longer allowed for the next"


VALUES = (
    *(None, 1, -1, 1.5, "", "x", [], {}, True, [1], {"a": 1}, 2**63, "9" * 400 + ".1", "1.2.3.٥", [None], {"": []}),
    *({"crops": [1, 2]}, {"crops": [3, 2, 1]}, {"crops": ["1", 2, 3]}, {"pairs": [0, 1, 1]}, {"colors": [1, 1, 1]}),
)


def spoilt(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Sidecars with one value of another kind, whose key is right."""
    found = []
    for key in document:
        found += [(f"{key}={value!r}", document | {key: value}) for value in VALUES]
    for field in fields(EngineSpec):
        for value in VALUES:
            spec = document["spec"] | {field.name: value}
            found.append((f"{field.name}={value!r}", document | {"spec": spec, "key": EngineSpec(**spec).key}))
    for kind in ("inputs", "outputs"):
        found += [(f"{kind}={value!r}", document | {"axes": document["axes"] | {kind: value}}) for value in VALUES]
    return found


def test_sidecars_of_every_kind_are_read_or_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "tiny.clsclip"))
    plan = write_engine(bundle.folder / "trunk.onnx")
    good, content = json.loads(plan.with_suffix(".json").read_text("utf-8")), plan.read_bytes()
    folder, digests = tmp_path / "spoilt", bundle.graph("trunk.onnx").digests
    folder.mkdir()
    refused = 0
    for name, document in spoilt(good):
        stem = str(document["key"])[:40].replace("/", "_") or "empty"
        sidecar = folder / f"{stem}.json"
        sidecar.write_text(json.dumps(document), "utf-8")
        (folder / f"{stem}.plan").write_bytes(content)
        try:
            find_engine(folder, bundle.folder, "trunk.onnx", MACHINE, digests)
        except BackendError:
            refused += 1
        except Exception as error:
            pytest.fail(f"{name}: {error!r}")
        sidecar.unlink()
    assert refused > 300
    assert find_engine(plan.parent, bundle.folder, "trunk.onnx", MACHINE, digests)[0].plan == plan


@pytest.mark.parametrize("content", [b"[" * 200_000, b"\xff\xfe", b"[1]", b"null", b'{"key": 1, "key": 2}'])
def test_sidecars_that_are_no_object(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "0123456789abcdef.json"
    path.write_bytes(content)
    with pytest.raises(BackendError, match="Build the engine again"):
        read_engine(path)
    assert [type(one) for one in engine_files(tmp_path)] == [BackendError]


def test_bad_sidecars_let_auto_go_on(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsclip_runtime.backends.select import BACKENDS

    for path in engines_of(bundle.folder).glob("*.json"):
        path.write_text('{"schema_version": 1, "spec": 5}', "utf-8")
    make: Callable[[Any], TensorRt] = lambda threads: backend()  # noqa: E731
    monkeypatch.setitem(BACKENDS, "tensorrt", make)
    with Segmenter.load(bundle.folder) as segmenter:
        assert segmenter.backend != "tensorrt"


def test_a_key_is_made_of_all_that_is_stated() -> None:
    spec = EngineSpec("trunk.onnx", {}, "fp32", {}, "tensorrt", "10.1", "any", "any", {})
    assert EngineSpec(**asdict(spec)).key == spec.key
