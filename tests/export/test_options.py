"""Options of clsclip-export: groups that exclude or need each other, and old names."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from clsclip_export.cli import command, main
from clsclip_export.cli.groups import Option
from clsclip_runtime.renamed import old_names

CKPT = ("--ckpt", __file__, "--out", "out")
BUNDLE = ("--from-bundle", "model.clsclip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give --ckpt, or --from-bundle"),
        (("--out", "out"), "Give --ckpt, or --from-bundle"),
        ((*CKPT, *BUNDLE), "--ckpt and --from-bundle exclude each other"),
        ((*CKPT, "--fp16", "--bf16"), "--fp16 and --bf16 exclude each other"),
        ((*CKPT, "--fp16", "--int8"), "--fp16 and --int8 exclude each other"),
        ((*CKPT, "--int8"), "--int8 needs --calibration-images"),
        ((*CKPT, "--calibration-words", "dog"), "--calibration-words says something about --int8"),
        ((*CKPT, "--pretrained", "openai"), "--pretrained says something about --towers"),
        ((*CKPT, "--no-text-encoder"), "--no-text-encoder says something about --classes-file"),
        ((*CKPT, "--tf32"), "--tf32 says something about --engine"),
        ((*CKPT, "--trust-pickle"), "--trust-pickle says something about --detector"),
        (("--ckpt", __file__), "Give --out"),
        (BUNDLE, "needs what to do with it"),
        ((*BUNDLE, "--out", "out"), "needs what to do with it"),
        ((*BUNDLE, "--detector", "a.onnx"), "Give --out"),
        ((*BUNDLE, "--engine", "tensorrt", "--out", "out"), "builds in the bundle itself"),
        ((*BUNDLE, "--engine", "tensorrt", "--force"), "--force says something about --out"),
        ((*BUNDLE, "--detector", "a.onnx", "--out", "out", "--fp16"), "--fp16 is for --ckpt"),
        ((*BUNDLE, "--detector", "a.onnx", "--out", "out", "--towers", "x"), "--towers is for --ckpt"),
        ((*BUNDLE, "--detector", "a.onnx", "--out", "out", "--check-words", "x"), "about --ckpt or --int8"),
        ((*BUNDLE, "--detector", "a.onnx", "--out", "out", "--pairs", "4"), "about --ckpt or --engine"),
        ((*BUNDLE, "--int8", "--calibration-images", ".", "--out", "out", "--engine", "tensorrt"), "takes none"),
        ((*CKPT, "--pairs", "8,4,2"), "1 <= smallest"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, list(arguments))
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert not list(tmp_path.iterdir())


def test_every_need_is_an_option() -> None:
    options = [one for one in command.params if isinstance(one, Option)]
    flags = {one.flag for one in options}
    assert {need for one in options for need in one.needs} <= flags
    groups = [one.group for one in options if one.group is not None]
    assert {groups.count(name) for name in groups} == {2, 4}


FLAGS = {one.flag for one in command.params if isinstance(one, Option)}
OLD = {old: new for old, new in old_names("options").items() if new in FLAGS}


def test_some_options_have_new_names() -> None:
    assert set(OLD.values()) >= {"--detector-format", "--detector-license", "--check-images"}


@pytest.mark.parametrize("old", OLD)
def test_old_options_give_the_new_name(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CKPT, old, "x"]) == 2
    assert OLD[old] in capsys.readouterr().err
