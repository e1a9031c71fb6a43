"""A table holds what the runtime finds, each image once, whatever happens between two runs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.registry import known_implementations
from PIL import Image
from pycocotools import mask as coco_mask

from clsclip_runtime import Segmenter
from clsclip_runtime.cli.infer import main as infer
from clsclip_runtime.errors import OptionError, OutputError
from clsclip_serve.batch.coco import coco_from_parquet
from clsclip_serve.batch.places import Place, RemoteError
from clsclip_serve.batch.schema import SCHEMA
from clsclip_serve.batch.shards import open_table
from clsclip_serve.batch.sources import Reader, find_images
from tests.serve.batch.conftest import BROKEN, WORDS, draw

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and numpy 2

Batch = Callable[..., int]


def rows(out: object) -> list[dict[str, Any]]:
    found = ds.dataset(str(out), format="parquet").to_table().to_pylist()
    return sorted(found, key=lambda row: row["path"])


def shards(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.parquet"))


def test_rows_are_what_the_runtime_finds(batch: Batch, images: Path, tmp_path: Path, segmenter: Segmenter) -> None:
    assert batch(images, tmp_path / "out", "--batch", "3") == 0
    table = ds.dataset(str(tmp_path / "out"), format="parquet").to_table()
    assert table.schema.equals(SCHEMA)
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.*") if path.suffix != ".md")
    found = rows(tmp_path / "out")
    assert [row["path"] for row in found] == names and len(names) == 14
    for row in found:
        if row["path"] in BROKEN:
            assert BROKEN[row["path"]] in row["error"] and row["annotations"] == [] and row["width"] is None
            continue
        result = segmenter(images / row["path"], WORDS)
        assert (row["width"], row["height"], row["error"]) == (*result.size, None)
        wanted = {one.name: one for one in result if one.area}
        assert {one["name"] for one in row["annotations"]} == set(wanted)
        for one in row["annotations"]:
            mask = coco_mask.decode({"size": result.size[::-1], "counts": one["counts"].encode()})
            assert np.array_equal(mask.astype(bool), wanted[one["name"]].mask)
            assert one["area"] == mask.sum()
            assert one["score"] == pytest.approx(wanted[one["name"]].presence, abs=1e-6)


def test_a_second_run_does_what_is_left(
    batch: Batch, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert batch(images, out, "--rows", "4", "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["images"], first["before"], first["rows"], first["errors"]) == (14, 0, 14, 2)
    whole, files = rows(out), shards(out)
    assert len(files) == 4
    files[1].write_bytes(files[1].read_bytes()[:-9])
    content = bytearray(files[2].read_bytes())
    content[len(content) // 2] ^= 1
    files[2].write_bytes(content)
    assert batch(images, out, "--json") == 0
    told = capsys.readouterr()
    second = json.loads(told.out)
    assert (second["before"], second["rows"], second["errors"]) == (6, 8, 2)
    assert files[1].name in told.err and files[2].name in told.err and "damaged" in told.err
    assert rows(out) == whole
    assert sorted(path.name for path in out.glob("_damaged*")) == [f"_damaged-{files[at].name}" for at in (1, 2)]
    assert batch(images, out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 0


def test_damage_anywhere_is_seen(batch: Batch, images: Path, tmp_path: Path) -> None:
    assert batch(images, tmp_path / "out") == 0
    (file,) = shards(tmp_path / "out")
    content = file.read_bytes()
    with open_table(file.name, content) as table:
        assert table.metadata.num_rows == 14
    for at in range(0, len(content), 41):
        damaged = bytearray(content)
        damaged[at] ^= 0x40
        with pytest.raises(ValueError, match="not what was written"):
            open_table(file.name, bytes(damaged))


def test_rows_that_came_twice_are_taken_out(
    batch: Batch, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs at once, on file systems that have no locks."""
    assert batch(images, tmp_path / "out", "--rows", "5") == 0
    assert batch(images, tmp_path / "other", "--rows", "14") == 0
    wanted = rows(tmp_path / "out")
    (file,) = shards(tmp_path / "other")
    file.rename(tmp_path / "out" / file.name)
    assert len(rows(tmp_path / "out")) == 28
    capsys.readouterr()
    assert batch(images, tmp_path / "out") == 0
    assert "twice" in capsys.readouterr().err
    assert rows(tmp_path / "out") == wanted


def test_errors_are_tried_again_where_that_is_asked(batch: Batch, images: Path, tmp_path: Path) -> None:
    assert batch(images, tmp_path / "out") == 0
    (images / "empty.jpg").write_bytes((images / "a/image 0000.png").read_bytes())
    assert batch(images, tmp_path / "out") == 0
    assert [row["path"] for row in rows(tmp_path / "out") if row["error"]] == sorted(BROKEN)
    assert batch(images, tmp_path / "out", "--retry-errors") == 0
    assert [row["path"] for row in rows(tmp_path / "out") if row["error"]] == ["c/cut.png"]
    assert len(rows(tmp_path / "out")) == 14


def test_another_question_needs_another_folder(
    batch: Batch, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert batch(images, out) == 0
    before = rows(out)
    for differs, call in {
        "classes": lambda: batch(images, out, words=["red"]),
        "options": lambda: batch(images, out, "--presence-threshold", "0"),
        "source": lambda: batch(images / "a", out),
        "max_pixels": lambda: batch(images, out, "--max-pixels", "1000"),
    }.items():
        assert call() == 2
        assert f"differs in {differs}." in capsys.readouterr().err
    pq.write_table(pa.table({"x": [1]}), out / "others.parquet")
    assert batch(images, out) == 2
    assert "others.parquet" in capsys.readouterr().err
    (out / "others.parquet").unlink()
    assert rows(out) == before


def test_coco_is_that_of_the_command_line(batch: Batch, images: Path, bundle: Path, tmp_path: Path) -> None:
    assert batch(images, tmp_path / "out", "--rows", "3", "--coco", str(tmp_path / "coco.json")) == 0
    found = json.loads((tmp_path / "coco.json").read_text())
    options = ["--out", str(tmp_path / "infer"), "--formats", "coco", "--recursive", "--backend", "onnxruntime-cpu"]
    assert infer([str(images), "--classes", *WORDS, "--model", str(bundle), *options]) == 1  # two are damaged
    wanted = json.loads((tmp_path / "infer/coco.json").read_text())
    assert found["categories"] == wanted["categories"] and found["info"] == wanted["info"]

    def by_name(document: dict[str, Any]) -> dict[str, Any]:
        names = {one["id"]: one["file_name"] for one in document["images"]}
        sizes = {one["file_name"]: (one["width"], one["height"]) for one in document["images"]}
        kept: dict[str, list[Any]] = {name: [] for name in names.values()}
        for one in document["annotations"]:
            kept[names[one["image_id"]]].append({k: v for k, v in one.items() if k not in ("id", "image_id")})
        return {name: (sizes[name], kept[name]) for name in kept}

    assert by_name(found) == by_name(wanted)
    assert [one["file_name"] for one in found["images"]] == sorted(one["file_name"] for one in wanted["images"])
    assert len({one["id"] for one in found["annotations"]}) == len(found["annotations"])


def test_coco_of_tables_without_their_classes(batch: Batch, images: Path, tmp_path: Path) -> None:
    """As Ray writes them."""
    assert batch(images, tmp_path / "out") == 0
    coco_from_parquet(str(tmp_path / "out"), str(tmp_path / "one.json"))
    (tmp_path / "plain").mkdir()
    table = pa.Table.from_pylist(rows(tmp_path / "out"), SCHEMA)
    pq.write_table(table, tmp_path / "plain/0_000.parquet")
    with pytest.raises(OutputError, match="does not say what its classes are"):
        coco_from_parquet(str(tmp_path / "plain"), str(tmp_path / "two.json"))
    notes = coco_from_parquet(str(tmp_path / "plain"), str(tmp_path / "two.json"), classes=WORDS)
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()
    assert notes == ["2 images have an error, and the document does not have them"]
    with pytest.raises(OutputError, match="holds no table"):
        coco_from_parquet(str(tmp_path), str(tmp_path / "x.json"))


@pytest.mark.parametrize("form", ["bytes", "struct", "nameless"])
def test_shards_in_are_as_files(batch: Batch, images: Path, tmp_path: Path, form: str) -> None:
    """Encoded images in Parquet, in several row groups; the ways in which others write them."""
    assert batch(images, tmp_path / "files") == 0
    wanted = {row["path"]: row for row in rows(tmp_path / "files")}
    names = sorted(wanted)
    contents = [(images / name).read_bytes() for name in names]
    columns: dict[str, Any] = {"path": names, "bytes": contents}
    if form == "struct":
        columns = {"file_name": names, "image": [{"bytes": one, "path": None} for one in contents]}
    if form == "nameless":
        columns = {"content": contents}
    (tmp_path / "shards").mkdir()
    for at in range(2):
        part = {key: values[at * 7 : at * 7 + 7] for key, values in columns.items()}
        pq.write_table(pa.table(part), tmp_path / f"shards/{at}.parquet", row_group_size=3)
    assert batch(tmp_path / "shards", tmp_path / "out", "--rows", "4") == 0
    found = rows(tmp_path / "out")
    if form == "nameless":
        assert [row["path"] for row in found] == [f"{at // 7}.parquet#{at % 7}" for at in range(14)]
        for row, name in zip(found, names, strict=True):
            row["path"] = name
    assert {row["path"]: row for row in found} == wanted
    shards(tmp_path / "out")[0].unlink()
    assert batch(tmp_path / "shards", tmp_path / "out") == 0
    assert len(rows(tmp_path / "out")) == 14


def test_any_file_system(batch: Batch, images: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(images), "/images", recursive=True)
    try:
        assert batch("memory://images", "memory://table", "--rows", "5", "--coco", "memory://coco.json") == 0
        assert batch("memory://images/*/*.png", "memory://part") == 0
        assert batch(images, tmp_path / "out") == 0
        memory.get("/table", str(tmp_path / "table"), recursive=True)
        assert rows(tmp_path / "table") == rows(tmp_path / "out")
        assert len(json.loads(memory.cat("/coco.json"))["images"]) == 12
        memory.get("/part", str(tmp_path / "part"), recursive=True)
        assert len(rows(tmp_path / "part")) == 13
    finally:
        memory.store.clear()


def test_lists_of_addresses(batch: Batch, images: Path, tmp_path: Path) -> None:
    names = [str(images / "a/image 0000.png"), str(images / "none.png")]
    (tmp_path / "list.txt").write_text("# two\n" + "\n".join([*names, names[0]]))
    assert batch(tmp_path / "list.txt", tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    assert [row["path"] for row in found] == sorted(names)
    assert [row["error"] for row in found] == [None, f"cannot read {names[1]}: there is no such file"]


def test_shares_are_parts_of_the_whole(batch: Batch, images: Path, tmp_path: Path) -> None:
    parts = [set(find_images(str(images), share=(at, 3)).names) for at in (1, 2, 3)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 14 and all(parts)
    for at in (1, 2, 3):
        assert batch(images, tmp_path / "out", "--share", f"{at}/3") == 0
    assert batch(images, tmp_path / "whole") == 0
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert batch(images, tmp_path / "out", "--share", "4/3") == 2


def test_file_systems_that_are_missing_name_their_package() -> None:
    named = 0
    for scheme, known in known_implementations.items():
        try:
            fsspec.get_filesystem_class(scheme)
        except ImportError:
            with pytest.raises(OptionError, match=f"{scheme}:// needs a package that is not installed") as told:
                Place.from_address(f"{scheme}://bucket/folder")
            if "pip install" in str(told.value):
                named += 1
                package = str(told.value).rpartition(" ")[2]
                assert package in str(known["err"]) or scheme == "hf"
        except ValueError:
            continue
    assert named > 5
    with pytest.raises(OptionError, match="there is no file system nowhere://"):
        Place.from_address("nowhere://x")


def test_what_is_not_the_images_fault_ends_the_run(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bucket that answers no more must not become thousands of rows with an error."""
    folder, out = draw(tmp_path / "images", 60), tmp_path / "out"
    content = Reader.content
    asked: list[str] = []

    def refused(self: Reader, root: Place | None, name: str) -> bytes | Exception:
        asked.append(name)
        return content(self, root, name) if len(asked) <= 30 else RemoteError(f"cannot read {name}: SlowDown")

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "content", refused)
        assert batch(folder, out) == 1
    told = capsys.readouterr().err
    assert "20 images one after another failed" in told and "SlowDown" in told
    assert len(rows(out)) == 30 and not [row for row in rows(out) if row["error"]]
    assert batch(folder, out) == 0
    assert len(rows(out)) == 60 and not [row for row in rows(out) if row["error"]]


def test_an_output_folder_that_is_removed(
    batch: Batch, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, moved = tmp_path / "out", tmp_path / "moved"
    content = Reader.content

    def moving(self: Reader, root: Place | None, name: str) -> bytes | Exception:
        if name == "c/image 0002.png":
            out.rename(moved)
        return content(self, root, name)

    monkeypatch.setattr(Reader, "content", moving)
    assert batch(images, out, "--rows", "2") == 1
    told = capsys.readouterr().err
    assert "cannot write" in told and "not there any more" in told and "the same command does the rest" in told
    monkeypatch.undo()
    assert not out.exists() and rows(moved)


def test_one_writer_at_a_time(
    batch: Batch, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, codes = Reader.content, []

    def again(self: Reader, root: Place | None, name: str) -> bytes | Exception:
        if not codes:
            codes.append(None)
            codes.append(batch(images, tmp_path / "out"))
        return content(self, root, name)

    monkeypatch.setattr(Reader, "content", again)
    assert batch(images, tmp_path / "out") == 0
    assert codes == [None, 2]
    assert "another clsclip-batch writes" in capsys.readouterr().err
    assert len(rows(tmp_path / "out")) == 14


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "--classes", "red", "--out", "x"], "there is no"),
        ([".", "--out", "x"], "no words"),
        ([".", "--classes", "red", "--out", "x", "--model", "none"], "no such bundle"),
        ([".", "--classes", "red", "--out", "x", "--ray-cpus", "2"], "--ray local"),
        ([".", "--classes", "red", "--out", "x"], "has no images"),
        ([".", "--classes", "red", "--out", "x", "--share", "0/2"], "is not I/N"),
        ([".", "--classes", "red", "--out", "x", "--detector", "y"], "--zoom-in"),
    ],
)
def test_wrong_use(
    inline: None, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any, tmp_path: Path
) -> None:
    from clsclip_serve.batch.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(arguments) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and told in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_image_is_a_row_for_the_actor_too(bundle: Path) -> None:
    from clsclip_serve.batch.segment import Segment

    file = io.BytesIO()
    Image.new("RGB", (20, 10), (255, 0, 0)).save(file, "PNG")
    actor = Segment(WORDS, str(bundle), "onnxruntime-cpu", max_pixels=1000)
    table = pa.table({"path": ["a", "b", "c"], "bytes": [file.getvalue(), b"x", None]})
    found = actor(table)
    assert found.schema.equals(SCHEMA)
    assert [row["path"] for row in found.to_pylist()] == ["a", "b", "c"]
    assert [row["error"] is None for row in found.to_pylist()] == [True, False, False]
    assert actor(table.slice(0, 0)).schema.equals(SCHEMA)
    with pytest.raises(OptionError, match="no column bytes"):
        actor(table.drop_columns(["bytes"]))
