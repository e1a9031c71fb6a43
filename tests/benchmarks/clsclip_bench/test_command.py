"""``clsclip-bench``: what it measures of a tiny bundle, what it refuses, and Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clsclip_bench import run as run_module
from clsclip_bench import session
from clsclip_bench.case import Workload
from clsclip_bench.cli import main
from clsclip_bench.ours import (
    SegmenterCase,
    device_of,
    made_image,
    precision_of,
    words,
)
from clsclip_bench.report import read_document, write_document
from clsclip_bench.session import Peaks
from clsclip_runtime.bundle.opening import IMAGE_ENCODER, PRESENCE, TEXT_ENCODER, TRUNK
from clsclip_runtime.errors import OptionError
from tests.benchmarks.clsclip_bench.doubles import MODULE

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("embedded_tiny")

ENGINE = ("--backend", "onnxruntime-cpu", "--mode", "exact")
SIZES = ("--crops", "2", "--classes", "3", "--minutes", "0.01")
SMALL = (*ENGINE, *SIZES)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's peak is not measured, and rounds are short."""
    monkeypatch.setattr(run_module, "Peaks", lambda threads: Peaks(threads, f"{MODULE}:Product"))
    for name in ("ROUND_SECONDS", "WARM_SECONDS"):
        monkeypatch.setattr(session, name, 0.01)


def fails(capsys: Captured, code: int, *arguments: str) -> str:
    """Run, expect the exit code and one clear line on standard error; returns that line."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("clsclip-bench: ")
    return line


def command(bundle: Path) -> tuple[list[str], dict[str, str]]:
    """The command on the tiny bundle as a process of its own, with a peak that is measured at once."""
    # A shell's background jobs ignore interrupts, and so do the programs that they start.
    code = f"""import signal, sys
from clsclip_bench import run
from clsclip_bench.session import Peaks
from clsclip_bench.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
run.Peaks = lambda threads: Peaks(threads, "{MODULE}:Product")
sys.exit(main())"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return [sys.executable, "-c", code, "--model", str(bundle), *ENGINE], environment


def test_a_run_its_files_and_its_comparison(capsys: Captured, bundle: Path, tmp_path: Path) -> None:
    files = ("--report", "out/run.json", "--markdown", "out/run.md", "--plot", "out/run.png")
    program, environment = command(bundle)
    done = subprocess.run(
        [*program, *SIZES, *files], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = read_document(tmp_path / "out" / "run.json")
    (row,) = document["rows"]
    assert (row["name"], row["engine"], row["mode"]) == ("tiny fp32, onnxruntime-cpu", "onnxruntime-cpu", "exact")
    assert (row["crops"], row["classes"], row["pairs"]) == (2, 3, 6)
    assert row["precision"] == "fp32"
    assert {IMAGE_ENCODER, TRUNK} <= set(row["facts"]["graphs"]) <= {IMAGE_ENCODER, TRUNK, PRESENCE}
    assert 0 < row["engine_ms"]["p50"] < row["whole_ms"]["p50"]
    assert 0 < row["outside_share"] < 1
    assert row["load_s"] > 0.01
    assert row["peak_memory_mib"] > 20
    assert "does not state the shape of" in row["operations"]["reason"], "the tiny graphs are made without shapes"
    assert row["peak_share"] is None
    assert document["interrupted"] is False
    assert document["peaks"]["cpu fp32"]["engine"] == "sleep"
    assert str(tmp_path.parent) not in (tmp_path / "out" / "run.json").read_text("utf-8"), "results name no folders"
    written = (tmp_path / "out" / "run.md").read_text("utf-8").strip()
    # A terminal of ASCII shows the rest of the characters by their numbers.
    assert done.stdout.strip() in (written, written.encode("ascii", "backslashreplace").decode("ascii"))
    assert (tmp_path / "out" / "run.png").stat().st_size > 1000

    # The same JSON again, nothing measured; and an older one in which every row took half the time.
    assert main(["--from", "out/run.json", "--compare", "out/run.json", "--fail-slower", "0"]) == 0
    assert "| 1.00 |" in capsys.readouterr().out
    assert main(["--from", "out/run.json", "--compare", "out/run.json", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("comparison")[0]["key"] == ["tiny fp32, onnxruntime-cpu", 2, 3]
    assert printed == document
    assert main(["--from", "out/run.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document
    row["whole_ms"]["p50"] /= 2
    write_document(tmp_path / "old.json", document)
    assert main(["--from", "out/run.json", "--compare", "old.json"]) == 0
    assert "| 2.00 |" in capsys.readouterr().out
    line = fails(capsys, 1, "--from", "out/run.json", "--compare", "old.json", "--fail-slower", "50")
    assert "tiny fp32, onnxruntime-cpu, 2 x 3: 2.00 times as long" in line
    row["classes"] = 7
    write_document(tmp_path / "old.json", document)
    assert "no row in common" in fails(capsys, 2, "--from", "out/run.json", "--compare", "old.json")


@pytest.mark.usefixtures("quick")
def test_engines_that_do_not_work_are_told(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "SPELLINGS", ("onnxruntime-cuda", "onnxruntime-cpu"))
    arguments = ["--mode", "exact", "--crops", "1", "--classes", "1,2", "--minutes", "0.01", "--report", "run.json"]
    assert main(arguments) == 0
    assert "Left out: tiny fp32, onnxruntime-cuda: " in capsys.readouterr().out
    document = json.loads(Path("run.json").read_text("utf-8"))
    assert list(document["left_out"]) == ["tiny fp32, onnxruntime-cuda"]
    assert [row["classes"] for row in document["rows"]] == [1, 2]
    # Asked for by name, it is a failure.
    line = fails(capsys, 1, "--backend", "onnxruntime-cuda", *arguments, "-q")
    assert "onnxruntime-cuda: " in line
    assert "NVIDIA" in line or "GPU" in line


@pytest.mark.usefixtures("quick")
def test_rows_that_do_not_fit_say_so(capsys: Captured) -> None:
    assert main([*ENGINE, "--crops", "1", "--classes", "1,900000", "--minutes", "0.02", "--report", "run.json"]) == 0
    first, second = json.loads(Path("run.json").read_text("utf-8"))["rows"]
    assert first["whole_ms"] is not None
    assert second["whole_ms"] is None
    assert "would not fit" in second["reason"]
    assert f"Not measured: tiny fp32, onnxruntime-cpu, 1 x 900000: {second['reason']}" in capsys.readouterr().out


def test_wrong_use(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("red\nblue\n", "utf-8")
    (tmp_path / "broken.clsclip").mkdir()
    for code, message, *arguments in (
        (2, "'0' is not a list of whole numbers of 1 or more", "--classes", "0"),
        (2, "'1,x' is not a list of whole numbers", "--crops", "1,x"),
        (2, "'' is not a list", "--crops", ""),
        (2, "no such bundle: nothing.clsclip", "--model", "nothing.clsclip"),
        (1, "is not a bundle: it has no manifest.json", "--model", "broken.clsclip"),
        (2, "'abacus' is not one of", "--backend", "abacus"),
        (2, "--fail-slower needs an earlier run", "--fail-slower", "5"),
        (2, "cannot read absent.json", "--compare", "absent.json"),
        (2, "words.txt has 2 words, and 20 are to be asked", "--words", "words.txt", "--classes", "1,20"),
        (2, "no such file: photo.jpg", "--picture", "photo.jpg"),
        (2, "cannot write words.txt/run.json", "--report", "words.txt/run.json"),
        (2, "0.0 is not in the range", "--minutes", "0"),
        (2, "0 is not in the range", "--threads", "0"),
    ):
        assert message in fails(capsys, code, *arguments), arguments


def test_plots_need_matplotlib(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "[bench]'" in fails(capsys, 2, "--plot", "run.png")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_what_was_measured(bundle: Path, tmp_path: Path) -> None:
    program, environment = command(bundle)
    running = subprocess.Popen(
        [*program, "--report", "run.json", "--crops", "1", "--classes", "1,2,3,4,5,6,7,8,9", "--minutes", "0.5"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not (tmp_path / "run.json").exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert errors.splitlines()[-1] == "clsclip-bench: interrupted; what was measured is in run.json"
    document = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert document["interrupted"] is True
    assert document["rows"][0]["classes"] == 1
    assert document["rows"][0]["whole_ms"]["calls"] > 0
    assert "tiny fp32, onnxruntime-cpu | 1 | 1 |" in out


def test_a_case_by_itself(bundle: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = SegmenterCase(str(bundle), "onnxruntime-cpu", image=str(photo), asked=["blue", "red"])
    take, taken = case._clock.take, []
    monkeypatch.setattr(case._clock, "take", lambda: taken.append(take()) or dict(taken[-1]))
    case.load()
    assert case.logits() is None
    case.prepare(Workload(2, 2))
    first, second = case.call(), case.call()
    graphs = [taken[1], taken[3]]  # every call takes twice: what came before it, and its own
    assert [TEXT_ENCODER in seconds for seconds in graphs] == [True, False], "words are encoded once"
    for call, seconds in zip((first, second), graphs, strict=True):
        assert call["engine"] == pytest.approx(sum(seconds.values()) - seconds.get(TEXT_ENCODER, 0)) != 0
    assert first["text"] > graphs[0][TEXT_ENCODER] > 0
    facts = case.facts()
    assert facts["pairs"] == 4
    # Both pictures are the scene, where red covers 140 pixels by hand (fixture red_mask) and blue none.
    assert facts["marked_pixels"] == 2 * 140
    logits = case.logits()
    assert logits is not None
    assert logits.shape == (2, 8, 8)
    assert logits[1].max() == pytest.approx(2.5, abs=0.1)
    with pytest.raises(OptionError, match="3 words are to be asked, and only 2 were given"):
        case.prepare(Workload(1, 3))


def test_names_say_device_and_precision() -> None:
    assert [device_of(name) for name in ("tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime-cpu")] == [
        *("gpu", "gpu", "cpu", "cpu")
    ]
    assert precision_of("openvino:bf16", "fp32") == "bf16"
    assert precision_of("openvino:bf16", "fp16") == "bf16"
    assert precision_of("openvino", "bf16") == "fp32", "computed in FP32 there"
    assert precision_of("openvino", "int8") == precision_of("openvino:bf16", "int8") == "int8"
    assert precision_of("onnxruntime-cpu", "fp16") == "fp32", "computed in FP32 there"
    assert precision_of("tensorrt", "fp16") == "fp16"


def test_words_and_pictures_are_made_the_same_way_every_time() -> None:
    assert len(set(words(1000))) == 1000
    image = made_image(40, 30)
    assert image.shape == (30, 40, 3)
    assert (image == made_image(40, 30)).all()
    assert image.std() > 20


def test_the_bundle_may_lie_anywhere(bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    moved = tmp_path / "with spaces and 犬.clsclip"
    shutil.copytree(bundle, moved)
    assert main(["--from", str(moved / "manifest.json")]) == 2
    assert "is not the result of a benchmark" in capsys.readouterr().err
