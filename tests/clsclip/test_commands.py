"""The README's commands of the sticker world, run small, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from clsclip.checkpoint import load_checkpoint
from clsclip.cli.evaluate import command as evaluate
from clsclip.cli.train import command as train
from clsclip.reproduce.stickers.__main__ import main as stickers


def run(command: object, *arguments: object) -> str:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    return done.stdout


def test_pretrain_train_and_evaluate(sticker_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSCLIP_CACHE", str(tmp_path / "cache"))  # which keeps where towers lie
    folder = ("--stickers", sticker_root, "--style", "noto")
    towers, out = tmp_path / "towers", tmp_path / "run"
    run(
        *(stickers, "pretrain", *folder, "--out", towers),
        *("--side", 32, "--steps", 2, "--batch", 4, "--parts", "1,2"),
    )
    world = ("--data", "stickers", "--root", sticker_root, "--words", "all", "--style", "noto", "--side", 32)
    summary = json.loads(
        run(
            *(train, "--towers", towers, *world, "--train-pictures", 12, "--things", 1, 3),
            *("--steps", 2, "--batch", 4, "--absent", 0.25, "--decoder-inputs", "text_token+similarity"),
            *("--presence-pictures", 8, "--workers", 0, "--out", out, "--json"),
        )
    )
    model, header = load_checkpoint(out / "last.safetensors")
    assert header["provenance"]["presence_threshold"] == summary["presence"]["threshold"]
    assert model.config.variant == "text_token+similarity"
    made = run(stickers, "pictures", *folder, "--out", tmp_path / "made", "--count", 2, "--side", 48).splitlines()
    assert all(Path(json.loads(line)["file"]).is_file() for line in made)
    test = ("run", *world, "--test-pictures", 4, "--model", out / "last.safetensors", "--episodes", "every", "--json")
    found = {
        group: json.loads(run(evaluate, *test, "--ask", group))["reports"][0]["pairs"]
        for group in ("seen", "novel", "all")
    }
    assert found["seen"] + found["novel"] == found["all"] > 0
    shuffled = json.loads(run(evaluate, *test, "--ask", "seen", "--shuffle-words"))
    assert "shuffled" in shuffled["reports"][0]["method"]
