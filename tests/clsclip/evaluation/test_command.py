"""clsclip-eval, as it is typed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clsclip.cli.evaluate import main, spread
from tests.clsclip.data.made import labels_with, make_folder, make_voc

ROOT = Path(__file__).resolve().parents[3]
CHECKPOINT = ROOT / "models" / "stickers" / "last.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    masks = {
        "one": labels_with((1, (0, 0, 60, 60)), (2, (80, 0, 150, 100))),
        "two": labels_with((2, (10, 10, 100, 100))),
    }
    return make_folder(tmp_path_factory.mktemp("own"), masks, ["dog", "boat"])


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(one) for one in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "run", "--data", "folder", "--root", folder, "--threads", 1, "--json")
    assert code == 0, err
    document = json.loads(out)
    (report,) = document["reports"]
    assert report["episodes"] == 3  # every pair of one's own data once
    assert report["pictures"] == 2
    code, out, err = run(capsys, "run", "--data", "folder", "--root", folder, "--episodes", "1000", "--json")
    assert json.loads(out)["reports"][0]["episodes"] == 1000
    assert {one["word"] for one in report["classes"]} == {"dog", "boat"}
    assert document["mean"]["miou"] == report["miou"]


def test_table_from_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capsys, "run", "--data", "folder", "--root", folder, "--model", CHECKPOINT,
        "--protocol", "480", "--episodes", "every", "--presence", "--limit", 1, "--no-absent",
    )  # fmt: skip
    assert code == 0, err
    assert out.startswith(
        "stickers/last (pytorch) + presence\n\n| class | IoU | precision | recall | leakage | pictures |"
    )
    assert "480x480" in out and "fold" not in out and "episodes" not in out.replace("every pair", "")
    assert "only the first 1 pictures" in out


def test_several_models_are_rows_of_one_table(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(CHECKPOINT, tmp_path / name / "last.safetensors")
    models = [part for name in ("one", "two", "one") for part in ("--model", tmp_path / name / "last.safetensors")]
    towers = ("--towers", ROOT / "models" / "stickers" / "towers", "--limit", 1)
    code, out, err = run(capsys, "run", "--data", "folder", "--root", folder, *models, *towers)
    assert code == 0, err
    rows = [line.split(" |")[0] for line in out.splitlines() if line.startswith("| ")]
    names = ["| one/last (pytorch)", "| two/last (pytorch)", "| one/last (pytorch) #2"]
    assert rows[:4] == ["| model", *names]
    code, out, _ = run(capsys, "run", "--data", "folder", "--root", folder, *models[:4], *towers, "--json")
    assert set(json.loads(out)["means"]) == {"one/last (pytorch)", "two/last (pytorch)"}


def test_regions(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = ("run", "--data", "folder", "--root", folder, "--json")
    code, out, _ = run(capsys, *data, "--true-regions", "--boxes-as-masks")
    assert code == 0
    assert json.loads(out)["reports"][0]["miou"] == 100
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{"image": "two", "class": "boat", "bbox": [10, 10, 90, 45]}]))
    code, out, _ = run(capsys, *data, "--regions", path, "--boxes-as-masks", "--episodes", "every")
    assert json.loads(out)["reports"][0]["classes"][1]["iou"] == pytest.approx(100 * 4050 / (8100 + 7000))
    code, out, _ = run(capsys, *data, "--regions", path, "--crop-margin", 0.2, "--fallback", "none", "--limit", 1)
    assert code == 0
    assert json.loads(out)["reports"][0]["miou"] == 0, "there are no boxes in the first picture"


def test_whole_pictures_are_searched_as_the_runtime_does(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = ("run", "--data", "folder", "--root", folder, "--threads", 1, "--no-absent", "--limit", 1, "--json")
    methods = []
    for more in (("--regions", "tiles"), ("--zoom-in", "--refine", "--presence")):
        caplog.clear()
        code, out, err = run(capsys, *data, *more)
        assert code == 0, err
        assert ("expect leakage" in caplog.text) == ("--presence" not in more)
        methods.append(json.loads(out)["reports"][0]["method"])
    assert [one.partition(")")[2] for one in methods] == [
        " + tiles",
        " + presence + zoom-in + refined",
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--zoom-in", "--true-regions"), "are for whole pictures"),
        (("--refine", "--regions", "boxes.json"), "are for whole pictures"),
        (("--regions", "tiles", "--boxes-as-masks"), "tiles needs a model"),
        (("--regions", "tiles", "--model", CHECKPOINT), "Export the checkpoint first"),
        (("--regions", "tiles", "--crop-margin", 0.1), "--crop-margin is about crops"),
        (("--regions", "tiles", "--true-regions"), "are for whole pictures"),
    ],
)
def test_what_does_not_go_together(
    folder: Path, capsys: pytest.CaptureFixture[str], more: tuple[object, ...], message: str
) -> None:
    code, _, err = run(capsys, "run", "--data", "folder", "--root", folder, *more)
    assert code == 2
    assert message in " ".join(err.split())


def test_all_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    big = (0, 0, 100, 100)
    masks = {f"v{value}": labels_with((value, big)) for value in (1, 6, 11, 16)}
    root = make_voc(tmp_path / "VOC2012", masks, [], list(masks))
    code, out, err = run(
        capsys, "run", "--data", "pascal", "--root", root, "--fold", "all", "--true-regions", "--boxes-as-masks"
    )
    assert code == 0, err
    assert out.count("alone as masks | pascal |") == 4
    assert "| mean | pascal |  | 100.0 |" in out


def test_stickers(sticker_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capsys, "run", "--data", "stickers", "--root", sticker_root, "--words", "all", "--side", 64,
        "--test-pictures", 4, "--things", 1, 3, "--true-regions", "--boxes-as-masks", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["reports"][0]["fold"] == -1


def test_drawings(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show, attention = tmp_path / "show.png", tmp_path / "attention.png"
    code, _, err = run(
        capsys, "show", "--data", "folder", "--root", folder, "--model", CHECKPOINT, "--key", "two", "--out", show
    )
    assert code == 0, err
    code, _, err = run(
        capsys, "attention", ROOT / "examples" / "cluttered.png", "dog", "--model", CHECKPOINT, "--out", attention
    )
    assert code == 0, err
    assert show.read_bytes()[:4] == attention.read_bytes()[:4] == b"\x89PNG"
    _, out, _ = run(
        capsys, "attention", ROOT / "examples" / "cluttered.png", "dog", "--model", CHECKPOINT, "--out", show, "--json"
    )
    assert json.loads(out) == {"files": [str(show)]}
    assert run(capsys, "show", "--data", "folder", "--root", folder, "--key", "no", "--out", show)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "ade"], "'ade' is not one of"),
        (["--data", "pascal"], "Give --fold"),
        (["--data", "folder", "--fold", "1"], "have no folds"),
        (["--data", "folder", "--protocol", "big"], "give original, or a side"),
        (["--data", "folder", "--protocol", "3"], "give original, or a side"),
        (["--data", "folder", "--boxes-as-masks"], "--boxes-as-masks needs --detector"),
        (["--data", "folder", "--crop-margin", "0.2"], "about crops of --detector"),
        (["--data", "folder", "--region-threshold", "0.5"], "about crops of --detector"),
        (["--data", "folder", "--true-regions", "--mask-margin", "-1"], "-1.0 is not in the range"),
        (
            ["--data", "folder", "--true-regions", "--boxes-as-masks", "--fallback", "none"],
            "about crops of --detector",
        ),
        (["--data", "folder", "--boxes-as-masks", "--model", "x"], "needs no --model"),
        (["--data", "folder", "--model", "none.clsclip"], "no such model"),
        (["--data", "folder", "--true-regions", "--regions", "x"], "Give one of"),
        (["--data", "folder", "--splits", "x", "--true-regions", "--boxes-as-masks"], "--splits is for"),
        (["--data", "pascal", "--fold", "0", "--novel", "x", "--true-regions", "--boxes-as-masks"], "--novel is for"),
        (["--data", "folder", "--limit", "0"], "0 is not in the range"),
    ],
)
def test_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, out, err = run(capsys, "run", "--root", folder, *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not out


def test_failures(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(
        capsys, "run", "--data", "pascal", "--root", folder, "--fold", 0, "--true-regions", "--boxes-as-masks"
    )
    assert code == 1
    assert "JPEGImages" in err
    code, _, err = run(capsys, "run", "--data", "folder", "--root", folder, "--detector", tmp_path / "no.onnx")
    assert code == 1
    assert "no such detector" in err
    code, _, err = run(capsys, "attention", "x.png", "dog", "--model", folder, "--out", tmp_path / "a.png")
    assert code == 2
    assert "checkpoint" in err


def test_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "clsclip.cli.evaluate", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "attention" in done.stdout
    assert done.stderr == ""


def test_spread() -> None:
    pairs = [(number, 0) for number in range(10)]
    assert spread(pairs, 3) == [(0, 0), (3, 0), (6, 0)]
    assert spread(pairs, 20) == pairs
    assert spread([], 3) == []
