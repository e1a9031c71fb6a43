"""``clsclip-train``: wrong use, a run on a folder of pictures, its checkpoint, and resuming it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsclip.checkpoint import load_checkpoint
from clsclip.cli.train import main, towers_source
from clsclip.tower_files import save_towers
from tests.clsclip.training.tiny_fold import Squares
from tests.tiny import tiny_config, tiny_towers

pytestmark = pytest.mark.usefixtures("user_cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Towers, and squares as pictures and masks on disk."""
    folder = tmp_path_factory.mktemp("command")
    save_towers(tiny_towers(), tiny_config(), folder / "towers")
    data, root = Squares(10), folder / "data"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "classes.txt").write_text("\n".join(data.classes) + "\n")
    for index in range(len(data)):
        labels = np.zeros((data.side, data.side), dtype=np.uint8)
        for word, place in data.places(index).items():
            labels[place] = word + 1
        Image.fromarray(data.picture(index)).save(root / "images" / f"{data.key(index)}.png")
        Image.fromarray(labels).save(root / "masks" / f"{data.key(index)}.png")
    return folder


def arguments(folder: Path, out: Path, *more: str) -> list[str]:
    paths = ["--towers", str(folder / "towers"), "--root", str(folder / "data"), "--out", str(out)]
    return [*paths, "--data", "folder", "--novel", "cat", "--steps", "4", "--batch", "4", "--workers", "0", *more]


def test_a_run_and_its_resumption(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    use = ("--decoder-inputs", "text_token+stem", "--navigation-layers", "1,3", "--absent", "0.25", "--device", "cpu")
    words = ("--license", "Apache-2.0", "--description", "Squares.", "--presence-pictures", "8")
    assert main(arguments(folder, out, *use, *words, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["steps"] == 4 and summary["checkpoint"] == str(out / "last.safetensors")
    model, header = load_checkpoint(out / "last.safetensors")
    assert model.config.navigation_layers == (1, 3) and model.config.variant == "text_token+stem"
    provenance = header["provenance"]
    assert provenance["description"] == "Squares." and provenance["license"]["weights"] == "Apache-2.0"
    assert provenance["held_out_words"] == ["cat"] and "cat" not in provenance["seen_words"]
    assert provenance["presence_threshold"] == summary["presence"]["threshold"]

    assert main(arguments(folder, out, *use)) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(arguments(folder, out, *use, "--resume")) == 0
    assert "nothing was left to do" in capsys.readouterr().out
    assert main(arguments(folder, out, *use, "--resume", "--seed", "9")) == 1
    captured = capsys.readouterr()
    assert "train.seed was 0 and is 9" in captured.err and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--fold", "1"), "no folds"),
        (("--use-of-text", "magic"), "replace, channel, spatial, film"),
        (("--use-of-text", "film", "--navigation-layers", "1"), "--use-of-text replace"),
        (("--navigation-layers", "x"), "list of numbers"),
        (("--navigation-layers", "7"), "between 0 and 5"),
        (("--decoder-inputs", "magic"), "Unknown decoder inputs"),
        (("--absent", "2"), "absent is 2.0"),
        (("--template", "a photo"), "hold {} once"),
        (("--batch", "0"), "batch"),
        (("--splits", "x"), "--splits is for"),
    ],
)
def test_wrong_use_exits_with_2(
    more: tuple[str, ...], says: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(folder, tmp_path / "run", *more)) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_failures_exit_with_1_and_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, says in (
        (["--towers", str(tmp_path)], "neither a folder"),
        (["--root", str(tmp_path / "none")], "none"),
        (["--precision", "fp16", "--device", "cpu"], "fp16 needs a GPU"),
    ):
        assert main(arguments(folder, tmp_path / "run") + wrong) == 1
        error = capsys.readouterr().err
        assert says in error and "Traceback" not in error and error.count("\n") == 1
    assert main(["--data", "pascal", "--root", ".", "--towers", "x", "--out", "y"]) == 2
    assert "--fold" in capsys.readouterr().err


def test_interrupts_exit_with_130(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clsclip.training.train", interrupt)
    assert main(arguments(folder, tmp_path / "run")) == 130


def test_checkpoints_name_their_towers_relative_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "towers").mkdir()
    (tmp_path / "b16.safetensors").write_bytes(b"")

    def named(towers: object, pretrained: str | None = None) -> str:
        return towers_source(str(towers), pretrained, tmp_path / "runs" / "one")

    assert named(tmp_path / "towers") == "../../towers"
    assert named("ViT-B-16", "openai") == "ViT-B-16:openai"
    assert named("ViT-B-16", str(tmp_path / "b16.safetensors")) == "ViT-B-16:../../b16.safetensors"
    assert named("ViT-B-16") == "ViT-B-16"


def test_a_run_starts_from_another_runs_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use = ("--navigation-layers", "1,3", "--device", "cpu", "--presence-pictures", "0")
    assert main(arguments(folder, tmp_path / "first", *use)) == 0
    first, _ = load_checkpoint(tmp_path / "first" / "last.safetensors")
    start = ("--from-checkpoint", str(tmp_path / "first" / "last.safetensors"))
    # Other pictures' size, and a step too small to move anything: the weights are the first run's.
    second = ("--image-size", "48", "--lr", "1e-12", "--weight-decay", "0")
    assert main(arguments(folder, tmp_path / "second", *use, *start, *second)) == 0
    model, header = load_checkpoint(tmp_path / "second" / "last.safetensors")
    assert model.towers.image.size == 48
    assert header["provenance"]["started_from"]["image_size"] == 32
    for name, weight in first.learned_state().items():
        assert np.allclose(weight, model.learned_state()[name], atol=1e-9), name
    capsys.readouterr()
    assert main(arguments(folder, tmp_path / "third", "--navigation-layers", "1,2", *start)) == 1
    assert "navigation_layers differ" in capsys.readouterr().err
