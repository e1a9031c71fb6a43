"""``clsclip-train``: wrong use, a run on a folder of pictures, its checkpoint, and resuming it."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
from PIL import Image

from clsclip.checkpoint import load_checkpoint
from clsclip.cli.train import main
from clsclip.reproduce.stickers.captions import train_tokenizer
from clsclip.tower_files import save_towers
from clsclip.weights.flavor import MEAN_STD
from tests import weights
from tests.clsclip.training.tiny_fold import write_squares
from tests.tiny import tiny_config, tiny_towers

pytestmark = pytest.mark.usefixtures("user_cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Towers, and squares as pictures and masks on disk."""
    folder = tmp_path_factory.mktemp("command")
    save_towers(tiny_towers(), tiny_config(), folder / "towers")
    write_squares(folder / "data", 10)
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


def test_a_folder_of_transformers_whose_mean_and_std_are_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a processor it does not tell them: a run goes on with those that it began with, and with no others."""
    theirs = weights.save_transformers(tmp_path / "clip", weights.clip())
    (theirs / "preprocessor_config.json").unlink()
    use = arguments(folder, tmp_path / "run", "--presence-pictures", "0", "--navigation-layers", "1")
    use[use.index("--towers") + 1] = str(theirs)
    assert main([*use, "--mean-std", "imagenet"]) == 0, capsys.readouterr().err
    path = tmp_path / "run" / "last.safetensors"
    settings = load_checkpoint(path)[1]["towers"]["settings"]
    assert settings["mean"] == list(MEAN_STD["imagenet"].mean) and settings["activation"]["image"] == "quick_gelu"
    capsys.readouterr()
    for other in (["--mean-std", "openai"], []):  # what is assumed where nothing is asked for
        assert main([*use, *other, "--resume"]) == 1
        assert "settings.mean was [0.485, 0.456, 0.406] and is [0.48145466" in capsys.readouterr().err
    assert main([*use, "--mean-std", "imagenet", "--resume"]) == 0, capsys.readouterr().err
    assert "nothing was left to do" in capsys.readouterr().out
    assert load_checkpoint(path)[1]["towers"]["settings"] == settings


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


def test_a_run_keeps_its_towers(folder: Path, tmp_path: Path, user_cache: Path) -> None:
    assert main(arguments(folder, tmp_path / "run", "--device", "cpu")) == 0
    kept = tmp_path / "run" / "towers" / "open_clip_model.safetensors"
    assert kept.samefile(folder / "towers" / "open_clip_model.safetensors")  # a link takes no room
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(user_cache)
    model, header = load_checkpoint(tmp_path / "copy" / "last.safetensors")
    assert {name: header["towers"][name] for name in ("source", "name", "image_size")} == {
        "source": "towers",
        "name": "towers",
        "image_size": 32,
    }
    assert model.towers.fingerprint() == header["fingerprint"]


def test_random_towers_must_be_asked_for_and_are_kept(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(open_clip, "list_models", lambda: ["tiny"])
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: tiny_config())
    monkeypatch.setattr("clsclip.tower_files.hub_tokenizer", lambda name: train_tokenizer())
    named = ["--towers", "tiny", "--device", "cpu", "--image-size", "48"]
    assert main(arguments(folder, tmp_path / "run") + named) == 2
    told = capsys.readouterr().err
    assert "random towers" in told and "--pretrained" in told and "--random-towers" in told
    assert not (tmp_path / "run").exists()
    assert main([*arguments(folder, tmp_path / "run"), *named, "--random-towers"]) == 0
    model, header = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert header["towers"]["name"] == "tiny:random" and header["provenance"]["random_towers"] is True
    assert model.towers.image.size == 48 and model.towers.fingerprint() == header["fingerprint"]
    more = [*arguments(folder, tmp_path / "run"), *named, "--random-towers", "--resume", "--steps", "6"]
    assert main(more) == 0
    assert load_checkpoint(tmp_path / "run" / "last.safetensors")[1]["provenance"]["steps"] == 6


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
    assert "navigation_layers was (1, 3) and is (1, 2)" in capsys.readouterr().err
    # The decoder may get more inputs; all that it had stays as it was.
    more = (*use, *start, *second, "--decoder-inputs", "residual+detail")
    assert main(arguments(folder, tmp_path / "fourth", *more)) == 0
    model, header = load_checkpoint(tmp_path / "fourth" / "last.safetensors")
    assert model.config.decoder_inputs == ("residual", "detail")
    assert header["provenance"]["started_from"]["decoder_inputs_added"] == "residual+detail"
    for name, weight in first.learned_state().items():
        assert np.allclose(weight, model.learned_state()[name], atol=1e-9), name
    richer = ("--from-checkpoint", str(tmp_path / "fourth" / "last.safetensors"), "--decoder-inputs", "detail")
    assert main(arguments(folder, tmp_path / "fifth", *use, "--image-size", "48", *richer)) == 1
    assert "decoder_inputs was" in capsys.readouterr().err


def test_a_run_inherits_what_no_option_says(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    use = ("--navigation-layers", "1,3", "--device", "cpu", "--image-size", "48", "--template", "a drawing of a {}")
    assert main(arguments(folder, tmp_path / "first", *use, "--absent", "0.25", "--presence-pictures", "0")) == 0
    start = ["--from-checkpoint", str(tmp_path / "first" / "last.safetensors"), "--absent", "0.5", "--device", "cpu"]
    own = arguments(folder, tmp_path / "second", *start)
    own = own[2:]  # without --towers
    with caplog.at_level(logging.INFO):
        assert main(own) == 0
    assert "its towers, --navigation-layers 1,3" in caplog.text and "--image-size 48" in caplog.text
    assert "--template a drawing of a {}" in caplog.text and "--absent 0.25 is 0.5 now" in caplog.text
    model, header = load_checkpoint(tmp_path / "second" / "last.safetensors")
    assert model.towers.image.size == 48 and model.config.navigation_layers == (1, 3)
    assert header["provenance"]["templates"] == ["a drawing of a {}"]
    assert header["provenance"]["training"]["absent"] == 0.5
    assert (tmp_path / "second" / "towers").is_dir()
    assert main([*arguments(folder, tmp_path / "third")[2:]]) == 2
    assert "Give --towers" in capsys.readouterr().err


def test_validation_is_made_and_shown(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(arguments(folder, out, "--device", "cpu", "--val", "0.2", "--validate-minutes", "0")) == 0
    told = capsys.readouterr().out
    assert "validation: mIoU" in told and "weakest classes" in told and f"--ckpt {out / 'best.safetensors'}" in told
    lines = [json.loads(line) for line in (out / "validation.jsonl").read_text("utf-8").splitlines()]
    assert lines[-1]["step"] == 4 and lines[-1]["pictures"] == 2
    with Image.open(out / "curves.png") as curves:
        assert curves.size[0] > 100
    assert (out / "validation" / "step_0000004.png").is_file()
    header = load_checkpoint(out / "last.safetensors")[1]
    provenance = header["provenance"]
    assert provenance["validation"] == lines[-1] and provenance["pictures"] == 8
    best = max(lines, key=lambda line: line["miou"])
    assert load_checkpoint(out / "best.safetensors")[1]["provenance"]["validation"]["miou"] == best["miou"]
    assert main(arguments(folder, tmp_path / "none", "--device", "cpu", "--val", "0")) == 0
    assert "Never validated" in capsys.readouterr().out


def test_files_can_be_read_by_others(folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert main(arguments(folder, tmp_path / "run", "--device", "cpu")) == 0
    finally:
        os.umask(before)
    for path in (tmp_path / "run").glob("*.*"):
        assert path.stat().st_mode & 0o777 == 0o644, path
