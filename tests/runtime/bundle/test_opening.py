"""Opening a bundle: what is whole is read once, and whatever is missing, changed or unsafe is told."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime import Bundle, BundleError, Segmenter
from clsclip_runtime.bundle import opening as bundle_module
from clsclip_runtime.bundle.manifest import check_file_name
from clsclip_runtime.bundle.specs import PresenceSpec
from tests.runtime.tiny_bundle import DETECTOR, make_bundle, manifest, sign


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the good bundle, to damage."""
    return Path(shutil.copytree(bundle, tmp_path / "own.clsclip"))


@pytest.mark.parametrize(("name", "size"), [("tokenizer.json", (1 << 25) + 1), ("trunk.onnx", (1 << 31) + 1)])
def test_what_no_reader_takes_is_not_read(tmp_path: Path, name: str, size: int) -> None:
    """Files of holes, whose digests would take their time; the manifest tells the truth about their size."""
    folder = make_bundle(tmp_path / "tiny")
    rewrite(folder, lambda document: document["files"][name].update(bytes=size))
    os.truncate(folder / name, size)
    with pytest.raises(BundleError, match=rf"{name} in .* is over {size >> 20} MiB, which is the most"):
        Bundle.open(folder)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_a_good_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.manifest.name == "tiny"
    assert opened.manifest.image.size == 32
    assert opened.manifest.presence == PresenceSpec("filter", "probability", 0.9)
    assert opened.path("trunk.onnx").is_absolute()
    assert len(opened.fingerprint) == 64


def test_a_path_may_be_text_or_relative(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parent)
    assert Bundle.open(bundle.name).folder == bundle


def test_without_a_path_the_embedded_model_is_opened(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "EMBEDDED", bundle)
    assert Bundle.open().manifest.name == "tiny"


def test_an_absent_embedded_model_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "EMBEDDED", tmp_path / "none.clsclip")
    with pytest.raises(BundleError, match="no model was given"):
        Bundle.open()


def test_no_such_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.open(tmp_path / "none.clsclip")


def test_a_file_is_no_bundle(bundle: Path) -> None:
    with pytest.raises(BundleError, match="is a file"):
        Bundle.open(bundle / "manifest.json")


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a bundle: it has no manifest\.json"):
        Bundle.open(tmp_path)


FILES = ["text_encoder.onnx", "image_encoder.onnx", "trunk.onnx", "presence.onnx", "tokenizer.json", "vision.weights"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(own: Path, name: str) -> None:
    (own / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.open(own)


@pytest.mark.parametrize("name", [*FILES, "segmenter.onnx"])
def test_a_flipped_byte_is_found(own: Path, name: str) -> None:
    data = bytearray((own / name).read_bytes())
    data[len(data) // 2] ^= 1
    (own / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} in .* is damaged: its SHA-256"):
        Bundle.open(own)


def test_a_shortened_file_is_found(own: Path) -> None:
    data = (own / "trunk.onnx").read_bytes()
    (own / "trunk.onnx").write_bytes(data[:-1])
    with pytest.raises(BundleError, match=rf"trunk.onnx .* has {len(data) - 1} bytes"):
        Bundle.open(own)


def test_what_git_did_is_named(own: Path) -> None:
    path = own / "tokenizer.json"
    content = path.read_bytes()
    assert b"\n" in content and b"\r" not in content
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    with pytest.raises(BundleError, match=r"tokenizer.json .* damaged.*changed its line ends.*-text"):
        Bundle.open(own)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(BundleError, match=r"tokenizer.json .* damaged.*git lfs pull"):
        Bundle.open(own)


@pytest.mark.parametrize("name", FILES[:-1])
def test_required_files_must_be_listed(own: Path, name: str) -> None:
    rewrite(own, lambda document: document["files"].pop(name))
    with pytest.raises(BundleError, match=f"no {name} among the files"):
        Bundle.open(own)


def test_files_that_are_not_listed_are_ignored(own: Path) -> None:
    (own / "evil.onnx").write_bytes(b"not a graph")
    (own / "gone").symlink_to("/nowhere")
    assert "evil.onnx" not in Bundle.open(own).manifest.files


UNSAFE = [
    "../out",
    "/etc/passwd",
    "a/../../b",
    "a\\..\\b",
    "C:x",
    "C:\\x",
    "a//b",
    "./a",
    "a/",
    "",
    "a\0b",
    "..",
    "a\nb",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_path_that_leaves_the_folder_is_refused(own: Path, name: str) -> None:
    rewrite(own, lambda document: document["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    with pytest.raises(BundleError, match="not a plain path"):
        Bundle.open(own)


@given(st.lists(st.sampled_from(["..", ".", "a", "b.onnx", "", "~", "c d"]), min_size=1, max_size=5), st.booleans())
def test_names_that_are_allowed_stay_inside(parts: list[str], rooted: bool) -> None:
    name = ("/" if rooted else "") + "/".join(parts)
    try:
        check_file_name(name)
    except BundleError:
        assert rooted or any(part in ("", ".", "..") for part in parts)
    else:
        assert Path(os.path.normpath(Path("/bundle") / name)).is_relative_to("/bundle/")
        assert not rooted


def test_a_folder_of_links_opens(own: Path, tmp_path: Path) -> None:
    """As caches of hubs are: the content is verified, wherever it lies."""
    links, blobs = tmp_path / "links.clsclip", tmp_path / "blobs"
    links.mkdir()
    blobs.mkdir()
    for at, path in enumerate(sorted(own.iterdir())):
        shutil.move(path, blobs / str(at))
        (links / path.name).symlink_to(Path("..") / "blobs" / str(at))
    with Segmenter.load(links, "onnxruntime-cpu") as segmenter:
        assert segmenter.bundle.folder == links


@pytest.mark.parametrize("name", ["trunk.onnx", "vision.weights", "manifest.json", "tokenizer.json"])
@pytest.mark.parametrize("target", ["other", "/dev/null", "/dev/zero", "pipe", "nowhere", "itself", "folder"])
def test_links_to_anything_else_are_refused(own: Path, tmp_path: Path, name: str, target: str) -> None:
    (tmp_path / "other").write_text("root:x:0:0")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (own / name).unlink()
    (own / name).symlink_to(own / name if target == "itself" else tmp_path / target)
    with pytest.raises(BundleError, match=name):
        Bundle.open(own)


def test_links_inside_the_bundle_and_to_it_are_fine(own: Path, tmp_path: Path) -> None:
    (own / "real").mkdir()
    shutil.move(own / "trunk.onnx", own / "real" / "data")
    (own / "trunk.onnx").symlink_to("real/data")
    (tmp_path / "link").symlink_to(own)
    assert Bundle.open(tmp_path / "link").folder == own


@pytest.mark.parametrize("location", ["../vision.weights", "/etc/hostname", "*/_ORT_MEM_ADDR_/*"])
def test_external_data_outside_the_bundle_is_refused(tmp_path: Path, location: str) -> None:
    folder = make_bundle(tmp_path / "tiny.clsclip", weights_file=location)
    shutil.copy(folder / "vision.weights", tmp_path / "vision.weights")
    with pytest.raises(BundleError, match="not a plain path"):
        Segmenter.load(folder)


def test_external_data_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    def forget(document: dict[str, Any]) -> None:
        del document["files"]["vision.weights"]

    folder = make_bundle(tmp_path / "tiny.clsclip", edit=forget)
    with pytest.raises(BundleError, match=r"keeps weights in vision\.weights, which the manifest does not list"):
        Bundle.open(folder)


def test_a_newer_schema_asks_for_an_upgrade(own: Path) -> None:
    rewrite(own, lambda document: document.update(schema_version=3))
    with pytest.raises(BundleError, match=r"schema version 3.*Upgrade clsclip"):
        Bundle.open(own)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b'{"a":' * 100_000])
def test_a_manifest_that_is_no_json_object(own: Path, content: bytes) -> None:
    (own / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="manifest"):
        Bundle.open(own)


def test_a_giant_manifest_is_not_read(own: Path) -> None:
    with (own / "manifest.json").open("r+b") as file:
        file.truncate(1 << 25)
    with pytest.raises(BundleError, match="over 16 MiB"):
        Bundle.open(own)


def test_a_detector_must_be_among_the_files(own: Path) -> None:
    rewrite(own, lambda document: document.update(detector=DETECTOR))
    with pytest.raises(BundleError, match=r"no detector\.onnx among the files"):
        Bundle.open(own)


def test_a_bundle_without_presence_needs_no_file_of_it(tmp_path: Path) -> None:
    assert Bundle.open(make_bundle(tmp_path / "plain", presence=False)).manifest.presence is None


def test_a_damaged_tokenizer_is_named(own: Path) -> None:
    (own / "tokenizer.json").write_text("{}")
    sign(own, manifest())
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a usable tokenizer: model must be an object"):
        Segmenter.load(own)


def test_a_bundle_of_schema_one_is_refused_with_the_command(own: Path) -> None:
    rewrite(own, lambda document: document.update(schema_version=1))
    with pytest.raises(BundleError, match=rf"schema version 1.*Run: clsclip-bundle upgrade {re.escape(str(own))} NEW"):
        Bundle.open(own)


def test_reserved_keys_are_kept_and_unknown_ones_ignored(own: Path) -> None:
    rewrite(own, lambda document: document.update(invented_later={"a": 1}, tiles=None, validation={"name": "colors"}))
    assert Bundle.open(own).manifest.raw["validation"] == {"name": "colors"}


@pytest.mark.parametrize(("name", "value"), [("trunk.onnx", "class_index"), ("image_encoder.onnx", "pixel_values")])
def test_an_axis_that_grows_must_be_open_in_the_graph(tmp_path: Path, name: str, value: str) -> None:
    own = Path(shutil.copytree(bundle_module.EMBEDDED, tmp_path / "own.clsclip"))
    model = onnx.load(own / name, load_external_data=False)
    (one,) = (one for one in model.graph.input if one.name == value)
    one.type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(model, own / name)
    sign(own, json.loads((own / "manifest.json").read_text("utf-8")))
    with pytest.raises(BundleError, match=f"takes {value} with a first axis of a fixed size"):
        Bundle.open(own)


def test_copies_are_of_what_was_verified(tmp_path: Path) -> None:
    """Else whoever makes a bundle of another would write the digests of a file that nobody has verified."""
    folder = make_bundle(tmp_path / "one.clsclip")
    opened = Bundle.open(folder)
    opened.copy(opened.manifest.files, tmp_path / "two")
    for name in opened.manifest.files:
        assert (tmp_path / "two" / name).read_bytes() == (folder / name).read_bytes()
    data = bytearray((folder / "vision.weights").read_bytes())
    data[0] ^= 1
    (folder / "vision.weights").write_bytes(data)
    with pytest.raises(BundleError, match=r"vision\.weights in .* is damaged"):
        opened.copy(["trunk.onnx", "vision.weights"], tmp_path / "three")
    assert [one.name for one in (tmp_path / "three").iterdir()] == ["trunk.onnx"]
