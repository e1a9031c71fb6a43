"""Bundles on a hub: from a folder laid out like the hub's cache, and through a client that is watched."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clsclip_runtime import Bundle, BundleError, Segmenter
from clsclip_runtime.bundle.hub import hub_folder
from clsclip_runtime.cli.infer import main

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lay_out(cache: Path, bundle: Path, commit: str = COMMIT, name: str = "user/name") -> Path:
    """A snapshot in the hub's cache: links to blobs named by their digest, and what ``main`` is."""
    top = cache / f"models--{name.replace('/', '--')}"
    (top / "blobs").mkdir(parents=True, exist_ok=True)
    (top / "refs").mkdir(exist_ok=True)
    (top / "refs" / "main").write_text(commit)
    for path in sorted(one for one in bundle.rglob("*") if one.is_file()):
        blob = top / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blob)
        link = top / "snapshots" / commit / path.relative_to(bundle)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return top / "snapshots" / commit


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no hub that answers."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.mark.parametrize("name", ["hf:user/name", "hf:user/name@main", f"hf:user/name@{COMMIT}"])
def test_offline_from_the_cache(name: str, cache: Path, bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay_out(cache, bundle)
    with caplog.at_level(logging.WARNING), Segmenter.load(name, "onnxruntime-cpu") as segmenter:
        assert segmenter.bundle.fingerprint == Bundle.open(bundle).fingerprint
        image = np.full((20, 20, 3), 200, np.uint8)
        with Segmenter.load(bundle, "onnxruntime-cpu") as plain:
            assert np.array_equal(segmenter(image, ["red"]).logits, plain(image, ["red"]).logits)
    told = [one.getMessage() for one in caplog.records if one.name.startswith("clsclip_runtime")]
    if name.endswith(COMMIT):
        assert not told, "a commit never changes, so there is nothing to ask"
    else:
        assert [COMMIT[:12] in one and "does not answer" in one for one in told] == [True]


def test_a_path_will_do(cache: Path, bundle: Path) -> None:
    lay_out(cache, bundle)
    assert Bundle.open(Path("hf:user/name")).fingerprint == Bundle.open(bundle).fingerprint


def test_what_the_cache_holds_is_verified(cache: Path, bundle: Path) -> None:
    snapshot = lay_out(cache, bundle)
    trunk = (snapshot / "trunk.onnx").resolve()
    content = bytearray(trunk.read_bytes())
    content[len(content) // 2] ^= 1
    trunk.write_bytes(content)
    with pytest.raises(BundleError, match=r"trunk\.onnx in .* is damaged"):
        Segmenter.load("hf:user/name", "onnxruntime-cpu")
    (snapshot / "trunk.onnx").unlink()
    with pytest.raises(BundleError, match=r"incomplete: trunk\.onnx is missing"):
        Segmenter.load(f"hf:user/name@{COMMIT}", "onnxruntime-cpu")


@pytest.mark.parametrize(
    "name",
    [
        "hf:",
        b"hf:user",
        "hf:user",
        "hf:user/name/more",
        "hf:../name@",
        "hf:user/name@",
        "hf:user/na me",
        "hf:user/name@re\nv",
    ],
)
def test_names_that_are_none(name: Any, cache: Path) -> None:
    with pytest.raises(BundleError, match="is no name on the hub"):
        Bundle.open(name)


def test_unknown_and_uninstalled(cache: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(cache, bundle)
    for name in ("hf:user/other", "hf:user/name@v9"):
        with pytest.raises(BundleError, match="could not be fetched, and the hub's cache has none"):
            Bundle.open(name)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BundleError, match=r"need huggingface_hub\. Run: .*\[hub\]"):
        Bundle.open("hf:user/name")


class Hub:
    """The client's one function, over a folder that stands for a repository."""

    def __init__(self, cache: Path, repository: Path) -> None:
        self.cache, self.repository = cache, repository
        self.asked: list[dict[str, Any]] = []

    def __call__(self, name: str, **options: Any) -> str:
        self.asked.append(options)
        snapshot = self.cache / "snapshots" / COMMIT
        if options.get("local_files_only"):
            if not snapshot.is_dir():
                raise huggingface_hub.errors.LocalEntryNotFoundError("none")
            return str(snapshot)
        for path in sorted(one for one in self.repository.rglob("*") if one.is_file()):
            inside = path.relative_to(self.repository).as_posix()
            if any(fnmatch.fnmatch(inside, pattern) for pattern in options["allow_patterns"]):
                (snapshot / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, snapshot / inside)
        return str(snapshot)


def watch(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    """Put a hub in the client's place; every name there is the same commit."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    known = SimpleNamespace(sha=COMMIT)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: known)


def test_only_what_the_manifest_lists_is_fetched(
    cache: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Path(shutil.copytree(bundle, tmp_path / "repository"))
    (repository / "modeling.py").write_text("raise SystemExit('run')")
    (repository / "extra.bin").write_bytes(b"weights")
    hub = Hub(cache, repository)
    watch(monkeypatch, hub)
    folder = hub_folder("hf:user/name@v1")
    got = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert got == {"manifest.json", *Bundle.open(bundle).manifest.files}
    assert [one.get("revision") for one in hub.asked] == ["v1", COMMIT, COMMIT], "the files are of one commit"


def test_repositories_that_hold_no_bundle(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "config.json").write_text("{}")
    (cache / "snapshots" / COMMIT).mkdir(parents=True)
    watch(monkeypatch, Hub(cache, repository))
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json"):
        Bundle.open("hf:user/name")
    document = json.loads((bundle / "manifest.json").read_text())
    document["files"]["../../evil"] = {"sha256": "0" * 64, "bytes": 1}
    (repository / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match="not a plain path inside"):
        Bundle.open("hf:user/name")


def test_on_the_command_line(cache: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    lay_out(cache, bundle)
    image = tmp_path / "red.png"
    Image.new("RGB", (20, 20), "red").save(image)
    out = tmp_path / "out"
    given = [str(image), "--model", "hf:user/name", "--classes", "red", "--out", str(out), "--skip-existing"]
    assert main(given) == 0
    assert "red" in capsys.readouterr().out and len(list(out.glob("*.png"))) == 2
    assert main(given) == 0
    assert "skipped 1 of 1" in capsys.readouterr().out
    assert main([str(image), "--model", "hf:user/none", "--classes", "red"]) == 1
    assert "hub's cache has none" in capsys.readouterr().err
