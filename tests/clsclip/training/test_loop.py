"""Training runs on a tiny model: what they learn, write, repeat and refuse."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clsclip.checkpoint import load_checkpoint
from clsclip.checkpoint import read_header as read_checkpoint_header
from clsclip.errors import DataError, DeviceError, TowersError, TrainingError
from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip.run_files import STATE_FILE
from clsclip.training import TrainConfig, TrainingSummary, train
from clsclip.training.config import settings_digest
from clsclip.training.pairs import Piece, Pieces
from clsclip.training.plan import Plan
from clsclip.training.processes import Processes
from clsclip.training.report import JsonLines, read_lines
from clsclip.training.stepper import Stepper
from clsclip_runtime.cli import progress as progress_module
from clsclip_runtime.errors import OutputError
from tests.clsclip.training.tiny_fold import Squares, fresh_model, tiny_fold
from tests.tiny import tiny_towers

SETTINGS = TrainConfig(steps=6, batch=6, absent=0.25, workers=0, log_every=2, save_every=100, seed=3, device="cpu")


def run(out: Path, model: ClsClip | None = None, resume: bool = False, **changes: object) -> TrainingSummary:
    config = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return train(model or fresh_model(), tiny_fold(), config, out, towers="towers", resume=resume)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "last.safetensors")


def largest_difference(one: Path, other: Path) -> float:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_a_run_learns_and_writes_what_export_reads(tmp_path: Path) -> None:
    model = fresh_model(decoder_inputs=("text_token",))
    frozen = {name: value.clone() for name, value in model.towers.state_dict().items()}
    summary = run(tmp_path / "run", model, steps=60, log_every=10, presence_pictures=12, learning_rate=3e-3)
    lines = read_lines(tmp_path / "run" / "train.jsonl")
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert set(lines[0]) == {"step", "epoch", "loss", "lr", "grad_norm", "pairs_per_second", "skipped"}
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert lines[-1]["loss"] == summary.loss
    assert all(torch.equal(value, frozen[name]) for name, value in model.towers.state_dict().items())

    loaded, header = load_checkpoint(tmp_path / "run" / "last.safetensors", tiny_towers())
    assert all(torch.equal(value, model.learned_state()[name]) for name, value in loaded.learned_state().items())
    provenance = header["provenance"]
    assert header["towers"]["source"] == "towers"
    assert provenance["data"] == "squares" and provenance["fold"] == 0 and provenance["steps"] == 60
    assert provenance["seen_words"] == ["dog", "cat", "boat", "bottle"] and provenance["held_out_words"] == ["chair"]
    assert provenance["templates"] == ["a photo of a {}"] and provenance["seed"] == 3
    assert provenance["training"]["batch"] == 6 and "torch" in provenance["tools"]
    assert summary.presence is not None
    assert provenance["presence_threshold"] == summary.presence["threshold"]
    assert not list((tmp_path / "run").glob("*.tmp"))


@pytest.mark.parametrize("variant", [{}, {"visual_prompts": 3}, {"use_of_text": "film"}, {"decoder_inputs": ("stem",)}])
def test_resumed_runs_are_byte_equal(variant: dict[str, object], tmp_path: Path) -> None:
    run(tmp_path / "whole", fresh_model(**variant), save_every=4)
    torn = fresh_model(**variant)

    class StopError(Exception):
        pass

    class Dies(Squares):
        def image(self, index: int):  # type: ignore[no-untyped-def]
            if len(self.reads) > 14:
                raise StopError
            return super().image(index)

    with pytest.raises(StopError):
        config = replace(SETTINGS, save_every=1)
        train(torn, tiny_fold(Dies()), config, tmp_path / "torn", towers="towers")
    summary = run(tmp_path / "torn", fresh_model(**variant), resume=True, save_every=5)
    assert summary.steps == 6
    assert largest_difference(tmp_path / "whole", tmp_path / "torn") == 0
    assert [line["step"] for line in read_lines(tmp_path / "torn" / "train.jsonl")] == [2, 4, 6]


def test_a_finished_run_resumed_writes_its_checkpoint_again(tmp_path: Path) -> None:
    run(tmp_path)
    first = {name: value.clone() for name, value in weights(tmp_path).items()}
    header = read_checkpoint_header(tmp_path / "last.safetensors")
    (tmp_path / "last.safetensors").unlink()
    assert run(tmp_path, resume=True).loss is None
    assert all(torch.equal(value, first[name]) for name, value in weights(tmp_path).items())
    assert read_checkpoint_header(tmp_path / "last.safetensors") == header
    assert len(read_lines(tmp_path / "train.jsonl")) == 3


def test_workers_do_not_change_the_result(tmp_path: Path) -> None:
    run(tmp_path / "none")
    run(tmp_path / "two", workers=2)
    assert largest_difference(tmp_path / "none", tmp_path / "two") == 0


def test_accumulated_micro_batches_are_one_large_batch(tmp_path: Path) -> None:
    # A small rate, because AdamW makes full steps of the smallest gradients, rounding included.
    run(tmp_path / "large", batch=12, learning_rate=1e-4)
    run(tmp_path / "small", batch=3, accumulate=4, learning_rate=1e-4)
    large, small = weights(tmp_path / "large"), weights(tmp_path / "small")
    for name, value in large.items():
        difference = (value - small[name]).abs()
        if name.endswith("in_proj_bias"):
            # The keys' third: softmax does not see it, its gradient is zero but for rounding.
            query, key, values = difference.chunk(3)
            assert key.max() < 1e-5, name
            difference = torch.cat([query, values])
        assert difference.max() < 1e-6, name


def test_gradients_of_micro_batches_add_up_to_the_whole() -> None:
    def gradients(**batch: int) -> list[torch.Tensor]:
        model, fold, config = fresh_model(), tiny_fold(), replace(SETTINGS, **batch)  # type: ignore[arg-type]
        tokens = model.encode_words(["dog", "cat", "boat", "bottle"])[0]
        stepper = Stepper(model, tokens, config, Processes(0, 1, torch.device("cpu")))
        data = Pieces(fold, Plan(fold, config), image_spec(model), 16)
        pieces = [piece for piece in map(data.__getitem__, range(config.accumulate)) if isinstance(piece, Piece)]
        stepper.step(pieces, 1, 0.0)
        return [weight.grad for weight in stepper.weights if weight.grad is not None]

    for whole, summed in zip(gradients(batch=12), gradients(batch=3, accumulate=4), strict=True):
        torch.testing.assert_close(whole, summed, atol=1e-7, rtol=1e-5)


def test_seeds_differ(tmp_path: Path) -> None:
    run(tmp_path / "three")
    run(tmp_path / "four", seed=4)
    assert largest_difference(tmp_path / "three", tmp_path / "four") > 1e-4


def test_bfloat16_trains(tmp_path: Path) -> None:
    assert run(tmp_path, precision="bf16").skipped == 0


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(TrainingError, match="--resume"):
        run(tmp_path)


def test_other_settings_are_named_when_resuming(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(
        TrainingError, match=r"train\.batch was 6 and is 3.*train\.learning_rate was 0\.001 and is 0\.5"
    ):
        run(tmp_path, resume=True, batch=3, learning_rate=0.5)
    with pytest.raises(TrainingError, match=r"model\.use_of_text was \"replace\" and is \"film\""):
        run(tmp_path, fresh_model(use_of_text="film"), resume=True)
    fold = replace(tiny_fold(), train_pairs=tiny_fold().train_pairs[:-1])
    with pytest.raises(TrainingError, match=r"data\.pairs_sha256"):
        train(fresh_model(), fold, SETTINGS, tmp_path, resume=True)


def settled(header: dict[str, str], **changed: Any) -> dict[str, str]:
    """A header of a state with other settings, and their digest."""
    settings = json.loads(header["settings"]) | changed
    return header | {"settings": json.dumps(settings), "settings_sha256": settings_digest(settings)}


def test_damaged_states_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / STATE_FILE
    whole = path.read_bytes()
    with safe_open(str(path), framework="pt") as opened:
        header = opened.metadata()
    tensors = {name: value.clone() for name, value in load_file(path).items()}  # not a view of the file
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match="cannot be read"):
        run(tmp_path, resume=True)
    damaged = [
        (tensors, {"format": "other"}, "does not say"),
        (tensors, header | {"settings_sha256": "0"}, "digest"),
        (tensors, header | {"counters": "["}, "damaged header"),
        (tensors, header | {"counters": "{}"}, "damaged"),
        (dict(list(tensors.items())[1:]), header, "other weights"),
        (tensors | {"weight/decoder.head.bias": torch.full((16,), float("nan"))}, header, "holds NaN"),
        (tensors | {"weight/decoder.head.bias": torch.full((16,), 1e300, dtype=torch.float64)}, header, "holds NaN"),
        (tensors | {"weight/decoder.head.bias": torch.ones(16, dtype=torch.int32)}, header, "of a floating type"),
        (tensors | {"exp_avg_sq/decoder.head.bias": torch.full((16,), -1.0)}, header, "mean of squares below 0"),
        *(
            (
                tensors,
                header | {"counters": json.dumps(json.loads(header["counters"]) | {name: value})},
                "damaged header",
            )
            for name, value in (
                *(("step", "nan"), ("step", -5), ("step", 1e308), ("step", 1.5), ("step", None), ("applied", "inf")),
                *(("applied", -5), ("skipped", [1]), ("loss_scale", -1), ("loss_scale_tracker", "x")),
            )
        ),
        *(
            (tensors, settled(header, lengths=lengths), "damaged header")
            for lengths in ([["x", 1]], [[1]], [[0, 2, 3]], [["nan", 2]], [None], [[0, -5]], 5, "x", {})
        ),
        *((tensors, settled(header, train=train), "damaged header") for train in (5, None, [])),
    ]
    for stored, metadata, says in damaged:
        save_file(stored, path, metadata)
        weights = (tmp_path / "last.safetensors").read_bytes()
        content = path.read_bytes()
        with pytest.raises(TrainingError, match=says):
            run(tmp_path, resume=True)
        assert path.read_bytes() == content and (tmp_path / "last.safetensors").read_bytes() == weights
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TrainingError, match="no regular file"):
        run(tmp_path, resume=True)


def test_resuming_nothing_starts_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(tmp_path / "new", resume=True)
    assert "no run to resume" in caplog.text
    run(tmp_path / "plain")
    assert largest_difference(tmp_path / "new", tmp_path / "plain") == 0


class ExplodesAt(torch.nn.Module):
    """In the decoder's place: gives NaN in the given calls."""

    def __init__(self, decoder: torch.nn.Module, calls: set[int]) -> None:
        super().__init__()
        self.inner, self.calls, self.count = decoder, calls, 0
        self.similarity = self.stem = None

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(*inputs)
        # Operations are counted on tensors without memory, which is no step.
        self.count += type(logits) is torch.Tensor and logits.device.type != "meta"
        return logits * float("nan") if self.count in self.calls else logits


def test_single_steps_that_are_not_finite_are_skipped(tmp_path: Path) -> None:
    model = fresh_model()
    model.decoder = ExplodesAt(model.decoder, {2, 3, 5})  # type: ignore[assignment]
    summary = run(tmp_path, model, log_every=1)
    assert summary.skipped == 3
    assert [line["skipped"] for line in read_lines(tmp_path / "train.jsonl")] == [0, 1, 2, 2, 3, 3]
    assert read_lines(tmp_path / "train.jsonl")[1]["loss"] is None
    assert all(bool(torch.isfinite(value).all()) for value in weights(tmp_path).values())


def test_three_in_a_row_end_the_run_and_leave_the_last_good_checkpoint(tmp_path: Path) -> None:
    model = fresh_model()
    model.decoder = ExplodesAt(model.decoder, {3, 4, 5})  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=r"3 steps in a row, the last of them step 5, at learning rate.*--lr"):
        run(tmp_path, model, save_every=2)
    assert read_checkpoint_header(tmp_path / "last.safetensors")["provenance"]["steps"] == 4
    assert all(bool(torch.isfinite(value).all()) for value in weights(tmp_path).values())


def test_towers_with_nan_are_refused_before_the_first_step(tmp_path: Path) -> None:
    model = fresh_model()
    model.towers.visual.conv1.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(TowersError, match=r"visual\.conv1\.weight of tiny holds NaN"):
        run(tmp_path, model)
    model = fresh_model()
    model.decoder.head.bias.data[0] = float("inf")
    with pytest.raises(TrainingError, match=r"decoder\.head\.bias"):
        run(tmp_path, model)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_pictures_end_the_run_in_one_line(workers: int, tmp_path: Path) -> None:
    class Broken(Squares):
        def image(self, index: int):  # type: ignore[no-untyped-def]
            raise DataError("square.png is damaged. Get the file again.")

    with pytest.raises(DataError, match=r"^square\.png is damaged\. Get the file again\.$"):
        train(fresh_model(), tiny_fold(Broken()), replace(SETTINGS, workers=workers, strict=True), tmp_path)
    with pytest.raises(DataError, match=r"More than half of the pictures cannot be read .* The first: square"):
        train(fresh_model(), tiny_fold(Broken()), replace(SETTINGS, workers=workers), tmp_path / "counted")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_cannot_be_read_is_counted_and_passed_over(
    workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Damaged(Squares):
        def image(self, index: int):  # type: ignore[no-untyped-def]
            if index == 3:
                raise DataError("square-3.png is damaged.")
            return super().image(index)

    config = replace(SETTINGS, workers=workers, presence_pictures=12)
    summary = train(fresh_model(), tiny_fold(Damaged()), config, tmp_path / "run", towers="towers")
    assert summary.passed_over == {"square-3": "square-3.png is damaged."}
    assert caplog.text.count("passed over: square-3.png is damaged.") == 1
    provenance = read_checkpoint_header(tmp_path / "run" / "last.safetensors")["provenance"]
    assert provenance["passed_over"] == ["square-3"]
    # The other pictures' pairs are trained as they would be without it: nothing of the plan moves.
    config = replace(config, steps=1)
    spec, plan = image_spec(fresh_model()), Plan(tiny_fold(), config)
    asked = plan.step(0)
    whole, torn = (Pieces(tiny_fold(data), plan, spec, 16)[0] for data in (Squares(), Damaged()))
    assert isinstance(whole, Piece) and isinstance(torn, Piece)
    missing = [pair for pair, crop in enumerate(whole.crop_index.tolist()) if asked[crop].image != 3]
    assert torch.equal(whole.target[missing], torn.target) and whole.step_pairs == torn.step_pairs


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for changes, says in [
        ({"batch": 0}, "batch is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"absent": 1.0}, "absent is 1.0"),
        ({"absent": 0.9, "batch": 2}, "leaves none present"),
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"template": "a photo"}, "hold {} once"),
        ({"restart_epochs": 0}, "restart_epochs"),
        ({"save_minutes": -1}, "save_minutes"),
        ({"validate_minutes": float("nan")}, "validate_minutes"),
        ({"validation_pictures": 0}, "validation_pictures"),
    ]:
        with pytest.raises(TrainingError, match=says):
            replace(SETTINGS, **changes)  # type: ignore[arg-type]


def test_devices_and_precisions_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="fp16 needs a GPU"):
        run(tmp_path, precision="fp16")
    with pytest.raises(DeviceError, match="no device 'abacus'"):
        run(tmp_path, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="finds no GPU"):
            run(tmp_path, device="cuda")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run(tmp_path / "file" / "run")


@pytest.mark.parametrize(("restart", "factor"), [(2.0, 1), (1.5, 2), (None, 1)])
def test_learning_rates_are_those_of_torch(restart: float | None, factor: int) -> None:
    per_epoch, epochs = 4, 8
    config = replace(SETTINGS, steps=None, epochs=epochs, restart_epochs=restart, restart_factor=factor)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    if restart is None:
        torchs: object = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, per_epoch * epochs)
    else:
        # torch wants whole periods: count in steps
        period = int(restart * per_epoch)
        torchs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, period, factor)
    for step in range(per_epoch * epochs):
        assert config.rate(step, per_epoch) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-12)
        optimiser.step()
        torchs.step()  # type: ignore[attr-defined]
    assert replace(config, warmup_steps=4).rate(0, per_epoch) == pytest.approx(config.rate(0, per_epoch) / 4)


def test_metrics_after_the_resumed_step_go(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"ste', encoding="utf-8")
    JsonLines(path, 4).metrics({"step": 5})
    assert [line["step"] for line in read_lines(path)] == [2, 4, 5]


def test_tensorboard_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        run(tmp_path, tensorboard=True)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_gets_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run(tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_plain_lines_tell_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "PLAIN_S", 0.0)
    run(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("training, steps  2/6")]
    assert told and " left  loss " in told[-1]
    assert json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0])["step"] == 2
