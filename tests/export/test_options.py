"""Options of clsclip-export: groups that exclude or need each other, and old names."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from click.testing import CliRunner

from clsclip_export.cli import command, main
from clsclip_export.cli import job as job_module
from clsclip_export.cli.groups import Option
from clsclip_export.cli.job import Calibrate, Checkpoint, Job
from clsclip_runtime.renamed import old_names

CKPT = ("--ckpt", __file__, "--out", "out")
BUNDLE = ("--from-bundle", "model.clsclip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give --ckpt, --clipseg or --training-free, or --from-bundle"),
        (("--out", "out"), "Give --ckpt, --clipseg or --training-free, or --from-bundle"),
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
        (
            (*BUNDLE, "--detector", "a.onnx", "--out", "out", "--check-words", "x"),
            "about --ckpt or --clipseg or --training-free or --int8",
        ),
        (
            (*BUNDLE, "--detector", "a.onnx", "--out", "out", "--pairs", "4"),
            "about --ckpt or --clipseg or --training-free or --engine",
        ),
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
    assert {groups.count(name) for name in groups} == {4}


FLAGS = {one.flag for one in command.params if isinstance(one, Option)}
OLD = {old: new for old, new in old_names("options").items() if new in FLAGS}


def test_some_options_have_new_names() -> None:
    assert set(OLD.values()) >= {"--detector-format", "--detector-license", "--check-images"}


@pytest.mark.parametrize("old", OLD)
def test_old_options_give_the_new_name(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CKPT, old, "x"]) == 2
    assert OLD[old] in capsys.readouterr().err


A, B, OUT = Path("a.safetensors"), Path("b.clsclip"), "out.clsclip"
CHECKPOINT = Checkpoint(A, None, None, None, "fp32")
CALIBRATE = Calibrate(Path("images"), ())


@pytest.mark.parametrize(
    ("job", "done"),
    [
        (Job(CHECKPOINT, None, None), ["checkpoint with words"]),
        (Job(CHECKPOINT, None, None, words=("a",), text_encoder=False), ["checkpoint with words"]),
        (Job(CHECKPOINT, None, None, calibrate=CALIBRATE, words=("a",)), ["checkpoint with words", "int8"]),
        (
            Job(CHECKPOINT, None, None, calibrate=CALIBRATE, words=("a",), text_encoder=False),
            ["checkpoint", "int8", "words"],
        ),
        (Job(None, B, None, words=("a",)), ["words"]),
        (Job(None, B, None, calibrate=CALIBRATE), ["int8"]),
        (Job(None, B, None, calibrate=CALIBRATE, words=("a",), text_encoder=False), ["int8", "words"]),
    ],
)
def test_steps_of_jobs(job: Job, done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step reads what the one before wrote, and only the last writes --out."""
    found: list[tuple[str, Path, Path]] = []
    out = tmp_path / OUT

    def note(name: str, source: Path, target: Path) -> None:
        found.append((name, source, target))
        assert len(list(tmp_path.iterdir())) == (len(done) > 1), "all but the last write into a folder beside --out"

    monkeypatch.setattr(
        job_module,
        "export_checkpoint",
        lambda job, out, detector, name, *, with_words: note(
            "checkpoint" + " with words" * with_words, Path(name), out
        ),
    )
    monkeypatch.setattr(job_module, "quantize", lambda job, source, out: note("int8", source, out))
    monkeypatch.setattr(job_module, "put_words", lambda job, source, out: note("words", source, out))
    job_module.write(job, out)
    assert [name for name, _, _ in found] == done
    for (_, _, written), (_, read, _) in itertools.pairwise(found):
        assert written == read
    assert found[-1][2] == out
    assert found[0][1] == (B if job.checkpoint is None else Path(OUT)), "the model is called as --out is"
    assert not list(tmp_path.iterdir())
