from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clsclip_runtime import Segmenter
from clsclip_runtime.bundle import opening as bundle_module
from clsclip_runtime.cli.infer import main
from clsclip_runtime.cli.outputs import RECORD
from tests.runtime.tiny_bundle import AUTO_HERE, make_bundle

Captured = pytest.CaptureFixture[str]


def files(folder: str) -> set[str]:
    """Names of the files in a folder, without the record of what they were made of."""
    return {path.name for path in Path(folder).iterdir()} - {RECORD}


pytestmark = pytest.mark.usefixtures("embedded_tiny")


def fails(capsys: Captured, code: int, *arguments: str) -> str:
    """Run, expect the exit code and one clear line on standard error; returns that line."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("clsclip-infer: ")
    assert "Traceback" not in captured.out
    return line


def test_the_embedded_model_names_a_way_to_photographs(photo: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main([str(photo), "--classes", "red"]) == 0
    assert "For photographs: clsclip-export --clipseg" in capsys.readouterr().out
    other = make_bundle(tmp_path / "other.clsclip")
    assert main([str(photo), "--classes", "red", "--model", str(other)]) == 0
    assert "For photographs" not in capsys.readouterr().out


def test_a_picture_and_its_words(photo: Path, capsys: Captured) -> None:
    assert main([str(photo), "--classes", "red", "blue", "dining table"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert f"model tiny (fp32, weights Apache-2.0) on {AUTO_HERE}" in captured.out
    assert "Knows plain colours and nothing else." in captured.out
    rows = [line.split() for line in captured.out.splitlines()]
    assert ["red", "1.00", "13.7", "found"] in rows
    assert ["blue", "0.58", "-", "absent"] in rows
    assert ["dining", "table", "0.00", "-", "absent"] in rows
    assert files("clsclip-out") == {
        "photo_blue.png",
        "photo_dining-table.png",
        "photo_overlay.png",
        "photo_red.png",
    }


def test_formats_and_folder_can_be_chosen(photo: Path, capsys: Captured) -> None:
    arguments = ["--classes", "red", "--out", "a/b", "--formats", "labels, coco,npz", "--", str(photo)]
    assert main(arguments) == 0
    assert files("a/b") == {"photo_labels.png", "photo_coco.json", "photo.npz"}
    assert "and 2 more in a/b" in capsys.readouterr().out


def test_json_is_one_document_per_line_and_nothing_else(photo: Path, capsys: Captured) -> None:
    shutil.copy(photo, "second.png")
    assert main([str(photo), "second.png", "--classes", "red", "red", "犬", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    documents = [json.loads(line) for line in captured.out.splitlines()]
    assert [document["source"] for document in documents] == [str(photo), "second.png"]
    assert [word["status"] for word in documents[0]["classes"]] == ["found", "absent"]
    assert documents[0]["files"] == []
    assert not Path("clsclip-out").exists()


def test_why_backends_were_passed_over_is_told_once(
    photo: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clsclip_runtime.segmenter.notes_of", lambda backend: ("x is broken",))
    shutil.copy(photo, "second.png")
    assert main([str(photo), "second.png", "--classes", "red", "--json"]) == 0
    lines = [json.loads(line)["backend_notes"] for line in capsys.readouterr().out.splitlines()]
    assert lines[0][-1] == "x is broken" and lines[1] == []


def test_json_with_out_lists_the_files(photo: Path, capsys: Captured) -> None:
    assert main([str(photo), "--classes", "red", "--json", "--out", "o", "--formats", "png"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["o/photo_red.png"]


def test_quiet_prints_nothing(photo: Path, capsys: Captured) -> None:
    assert main([str(photo), "--classes", "red", "red", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert Path("clsclip-out/photo_red.png").exists()


def test_a_folder_with_equal_stems_keeps_all_files(photo: Path) -> None:
    for name in ("a/x.png", "b/x.png", "b/x.bmp"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.open(photo).save(name)
    assert main(["a", "b", "--classes", "red", "--formats", "png", "-q"]) == 0
    assert files("clsclip-out") == {"x_red.png", "x-2_red.png", "x-3_red.png"}


def test_words_of_a_file_are_added(photo: Path, capsys: Captured) -> None:
    Path("words.txt").write_text("green\n# no\nblue\n", encoding="utf-8")
    assert main([str(photo), "--classes-file", "words.txt", "--classes", "red", "--json"]) == 0
    words = json.loads(capsys.readouterr().out)["classes"]
    assert [word["name"] for word in words] == ["red", "green", "blue"]


def test_presence_threshold_and_engine_options(photo: Path, capsys: Captured) -> None:
    options = ["--presence-threshold", "0", "--backend", "onnxruntime-cpu", "--threads", "1", "--memory-mb", "64"]
    assert main([str(photo), "--classes", "red", "blue", "--json", *options]) == 0
    assert [word["status"] for word in json.loads(capsys.readouterr().out)["classes"]] == ["found", "empty"]


def test_the_presence_filter_lets_the_likeliest_through(photo: Path, capsys: Captured) -> None:
    words = ["--classes", "green", "red", "blue", "--json"]
    assert main([str(photo), *words, "--presence-filter", "--max-classes", "1", "--presence-threshold", "0.1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [word["status"] for word in document["classes"]] == ["found", "filtered", "filtered"]
    assert [word["reason"] for word in document["classes"]] == [None, "outside the top 1", "outside the top 1"]
    assert main([str(photo), *words, "--no-presence-filter"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [word["status"] for word in document["classes"]] == ["found", "found", "empty"]
    assert [word["presence"] for word in document["classes"]] == [None] * 3


def test_notes_are_printed(photo: Path, capsys: Captured) -> None:
    assert main([str(photo), "--classes", "red", " red", "table " * 9]) == 0
    out = capsys.readouterr().out
    assert "note: 'red' was asked 2 times and is reported once" in out
    assert "longer than the model's 8 tokens" in out


def test_standard_input_is_a_source(photo: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(photo.read_bytes())))
    assert main(["-", "--classes", "red", "--json", "--out", "o"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["classes"][0]["status"] == "found"
    assert "o/picture_overlay.png" in document["files"]


def test_a_bad_picture_among_good_ones(photo: Path, capsys: Captured) -> None:
    Path("bad.png").write_bytes(photo.read_bytes()[:60])
    line = fails(capsys, 1, "bad.png", str(photo), "--classes", "red")
    assert "bad.png is damaged or incomplete" in line
    assert Path("clsclip-out/photo_red.png").exists()


def test_a_bad_picture_is_a_json_line_too(photo: Path, capsys: Captured) -> None:
    Path("bad.png").touch()
    assert main(["bad.png", str(photo), "--classes", "red", "--json"]) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == {"source": "bad.png", "error": "bad.png is empty (0 bytes)"}
    assert second["classes"]


WRONG_USE = [
    (["none.jpg", "--classes", "red"], "no such file: none.jpg"),
    (["*.gif", "--classes", "red"], "no file matches"),
    (["{photo}"], "no words were given"),
    (["{photo}", "--classes"], "requires an argument"),
    (["{photo}", "--classes", ""], "class word is empty"),
    (["{photo}", "--classes", " \t "], "class word is empty"),
    (["{photo}", "--classes", "dog " * 500], "limit is 256"),
    (["{photo}", "--classes", "do\x07g"], "control character"),
    (["{photo}", "--classes-file", "none.txt"], "cannot read the words"),
    (["--classes", "red"], "no SOURCE was given"),
    (["--classes", "red", "{photo}"], "put it before --classes"),
    (["{photo}", "--classes", "red", "--formats", "gif"], "no format 'gif'"),
    (["{photo}", "--classes", "red", "--formats", ""], "no format ''"),
    (["{photo}", "--classes", "red", "--model", "none.clsclip"], "no such bundle"),
    (["{photo}", "--classes", "red", "--model", "{photo}"], "no such bundle"),
    (["{photo}", "--classes", "red", "--presence-threshold", "2"], "presence-threshold"),
    (["{photo}", "--classes", "red", "--presence-threshold", "nan"], "from 0 to 1"),
    (["{photo}", "--classes", "red", "--presence-filter=half"], "does not take a value"),
    (["{photo}", "--classes", "red", "--max-classes", "0"], "max-classes"),
    (["{photo}", "--classes", "red", "--max-classes", "2", "--no-presence-filter"], "max_classes"),
    (["{photo}", "--classes", "red", "--backend", "cuda"], "'cuda' is not"),
    (["{photo}", "--classes", "red", "--threads", "0"], "threads"),
    (["{photo}", "--classes", "red", "--memory-mb", "x"], "memory-mb"),
    (["{photo}", "--classes", "red", "--what"], "No such option"),
    (["{photo}", "--classes", "red", "--gate", "clip"], "--gate is gone since 0.2. Use --presence-filter or"),
    (["{photo}", "--classes", "red", "--margin=4"], "--margin is gone since 0.2. Use --crop-margin"),
    (["{photo}", "--classes", "red", "--on-missing", "empty"], "--on-missing empty is gone since 0.2. Use --fallback"),
    (["{photo}", "--classes", "red", "--backend", "openvino-bf16"], "openvino-bf16 is gone since 0.2. Use backend="),
    (["{photo}", "--classes", "red", "--backend-option", "precision"], "'precision' is not NAME=VALUE"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_USE, ids=range(len(WRONG_USE)))
def test_wrong_use_is_one_line_and_2(photo: Path, capsys: Captured, arguments: list[str], message: str) -> None:
    line = fails(capsys, 2, *(argument.replace("{photo}", str(photo)) for argument in arguments))
    assert message in line
    assert not Path("clsclip-out").exists()


def test_damaged_bundles_are_one_line_and_1(photo: Path, tmp_path: Path, capsys: Captured) -> None:
    folder = make_bundle(tmp_path / "own.clsclip")
    (folder / "trunk.onnx").unlink()
    assert "trunk.onnx is missing" in fails(capsys, 1, str(photo), "--classes", "red", "--model", str(folder))
    newer = make_bundle(tmp_path / "new.clsclip", edit=lambda document: document.update(schema_version=9))
    assert "Upgrade clsclip" in fails(capsys, 1, str(photo), "--classes", "red", "--model", str(newer))
    damaged = make_bundle(tmp_path / "nan.clsclip", weight=float("nan"))
    assert "are damaged" in fails(capsys, 1, str(photo), "--classes", "red", "--model", str(damaged))
    assert not Path("clsclip-out").exists()


def test_no_embedded_model_is_one_line(photo: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "EMBEDDED", Path("none.clsclip"))
    assert "no model was given" in fails(capsys, 1, str(photo), "--classes", "red")


def test_an_output_folder_that_cannot_be_written(photo: Path, capsys: Captured) -> None:
    for folder in (photo, photo / "below" / "that"):
        assert "cannot write" in fails(capsys, 1, str(photo), "--classes", "red", "--out", str(folder))


def test_a_write_that_fails_stops_the_run(photo: Path, capsys: Captured) -> None:
    Path("clsclip-out/photo_red.png").mkdir(parents=True)
    shutil.copy(photo, "z.png")
    assert "cannot write" in fails(capsys, 1, str(photo), "z.png", "--classes", "red")
    # Files of the same picture are written at the same time, so the other may be there; if so it is complete.
    others = files("clsclip-out") - {"photo_red.png"}
    assert others <= {"photo_overlay.png"}
    for name in others:
        Image.open(Path("clsclip-out", name)).load()


def test_pictures_of_the_run_are_never_overwritten(photo: Path, capsys: Captured) -> None:
    trap = photo.with_name("photo_red.png")
    shutil.copy(photo, trap)
    before = trap.read_bytes()
    line = fails(capsys, 1, str(photo), str(trap), "--classes", "red", "--out", str(photo.parent))
    assert "one of the pictures" in line
    assert trap.read_bytes() == before


def test_extreme_shapes_and_a_bomb(tmp_path: Path, capsys: Captured) -> None:
    for name, size in (("dot.png", (1, 1)), ("line.png", (20_000, 1))):
        Image.new("RGB", size, (255, 0, 0)).save(name)
    assert main(["dot.png", "line.png", "--classes", "red", "--formats", "png,overlay,labels,coco,npz", "-q"]) == 0
    Image.new("1", (20_000, 10_001)).save("bomb.png")
    assert "200,020,000 pixels, and the limit is 200,000,000" in fails(capsys, 1, "bomb.png", "--classes", "red")


def test_pillows_limit_is_put_back(photo: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    main([str(photo), "--classes", "red", "-q"])
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_thousand_words(photo: Path, capsys: Captured) -> None:
    words = [f"thing {number}" for number in range(999)]
    assert main([str(photo), "--classes", *words, "red", "--formats", "overlay"]) == 0
    assert capsys.readouterr().out.count("absent") == 999


def test_help_has_examples_and_version_is_told(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert 'clsclip-infer photo.jpg --classes bottle boat "dining table"' in out
    assert "Exit codes" in out
    assert main(["--version"]) == 0
    assert "clsclip-infer, version" in capsys.readouterr().out


@pytest.mark.parametrize("debug", [False, True])
def test_unexpected_errors_are_one_line_unless_debugged(
    photo: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Segmenter, "load", explode)
    if debug:
        monkeypatch.setenv("CLSCLIP_DEBUG", "1")
        monkeypatch.setattr("logging.basicConfig", lambda **_: None)
        assert main([str(photo), "--classes", "red"]) == 1
        assert "Traceback" in capsys.readouterr().err
    else:
        line = fails(capsys, 1, str(photo), "--classes", "red")
        assert "unexpected ZeroDivisionError: a bug. Run with CLSCLIP_DEBUG=1" in line


def test_an_interrupt_is_130_and_leaves_no_parts(
    photo: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> npt.NDArray[np.bool_]:
        raise KeyboardInterrupt

    monkeypatch.setattr("clsclip_runtime.results.result.Result.rle", interrupt)
    assert main([str(photo), "--classes", "red", "--formats", "png", "-q"]) == 130
    assert "clsclip-infer: interrupted" in capsys.readouterr().err
    assert list(Path("clsclip-out").iterdir()) == []


def test_a_real_interrupt_of_the_module(photo: Path, bundle: Path, tmp_path: Path) -> None:
    # Enough pictures that the run is surely under way when the signal comes.
    for number in range(3000):
        (tmp_path / "many").mkdir(exist_ok=True)
        os.link(photo, tmp_path / "many" / f"{number:04}.png")
    arguments = ["many/*.png", "--classes", "red", "--model", str(bundle)]
    process = subprocess.Popen(
        [sys.executable, "-m", "clsclip_runtime", *arguments],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A parent that runs in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 30
        while not list((tmp_path / "clsclip-out").glob("*.png")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "clsclip-infer: interrupted" in errors
    assert not list((tmp_path / "clsclip-out").glob(".*"))
