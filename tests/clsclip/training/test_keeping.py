"""What a run keeps: by time, on a signal, after an error, beyond its end; and pieces where shared memory is full."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clsclip.checkpoint import read_header
from clsclip.data.base import Fold
from clsclip.errors import TrainingError
from clsclip.preprocessing import image_spec
from clsclip.run_files import STATE_FILE
from clsclip.split import split
from clsclip.training import TrainConfig, train
from clsclip.training.pairs import Piece, Pieces, Unshared
from clsclip.training.plan import Plan
from clsclip.training.state import read_header as read_state
from clsclip.training.stepper import Stepper
from tests.clsclip.training.tiny_fold import Squares, fresh_model, tiny_fold

SETTINGS = TrainConfig(steps=6, batch=6, absent=0.25, workers=0, log_every=2, save_every=100, seed=3, device="cpu")


@pytest.fixture(autouse=True)
def listens() -> Iterator[None]:
    """Ctrl-C as in a terminal: what runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "last.safetensors")


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def steps_of(out: Path) -> int:
    return int(read_state(out / STATE_FILE)[1]["step"])


class Interrupts(Squares):
    """Asks to stop when a number of pictures was read: in the middle of a step."""

    def __init__(self, reads: int, number: signal.Signals) -> None:
        super().__init__()
        self.limit, self.number = reads, number

    def image(self, index: int):  # type: ignore[no-untyped-def]
        if len(self.reads) == self.limit:
            signal.raise_signal(self.number)
        return super().image(index)


def test_an_interrupted_run_is_written_and_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    train(fresh_model(), tiny_fold(), SETTINGS, tmp_path / "whole", towers="towers")
    for reads in (0, 9, 20):
        out = tmp_path / f"torn{reads}"
        with pytest.raises(KeyboardInterrupt):
            train(fresh_model(), tiny_fold(Interrupts(reads, signal.SIGINT)), SETTINGS, out, towers="towers")
        assert (out / STATE_FILE).exists() == (reads > 0)
        if reads:
            assert 0 < steps_of(out) < 6 and read_header(out / "last.safetensors")["provenance"]["steps"] == steps_of(
                out
            )
        train(fresh_model(), tiny_fold(), SETTINGS, out, towers="towers", resume=True)
        assert equal(tmp_path / "whole", out)


def test_a_request_within_an_update_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(fresh_model(), tiny_fold(), SETTINGS, tmp_path / "whole", towers="towers")
    usual = Stepper.update

    def asks_in_between(self: Stepper, norm: float, rate: float) -> None:
        self.whole = False
        if self.applied == 2:
            signal.raise_signal(signal.SIGINT)
        usual(self, norm, rate)

    monkeypatch.setattr(Stepper, "update", asks_in_between)
    with pytest.raises(KeyboardInterrupt):
        train(fresh_model(), tiny_fold(), SETTINGS, tmp_path / "torn", towers="towers")
    assert steps_of(tmp_path / "torn") == 3
    monkeypatch.setattr(Stepper, "update", usual)
    train(fresh_model(), tiny_fold(), SETTINGS, tmp_path / "torn", towers="towers", resume=True)
    assert equal(tmp_path / "whole", tmp_path / "torn")


def test_checkpoints_come_by_time_as_well(tmp_path: Path) -> None:
    class Watches(Squares):
        def image(self, index: int):  # type: ignore[no-untyped-def]
            seen.append(steps_of(tmp_path / "run") if (tmp_path / "run" / STATE_FILE).exists() else 0)
            return super().image(index)

    seen: list[int] = []
    train(fresh_model(), tiny_fold(Watches()), replace(SETTINGS, save_minutes=0), tmp_path / "run", towers="towers")
    assert sorted(set(seen)) == [0, 1, 2, 3, 4, 5]


def test_a_run_goes_on_beyond_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(fresh_model(), tiny_fold(), SETTINGS, tmp_path / "run", towers="towers")
    longer = replace(SETTINGS, steps=9)
    summary = train(fresh_model(), tiny_fold(), longer, tmp_path / "run", towers="towers", resume=True)
    assert summary.steps == 9 and steps_of(tmp_path / "run") == 9
    assert "the run had 6 steps and goes on to 9; from step 7 its learning rate" in caplog.text
    provenance = read_header(tmp_path / "run" / "last.safetensors")["provenance"]
    assert provenance["lengths"] == [[0, 6], [6, 9]] and provenance["training"]["steps"] == 9
    # What is resumed again knows its whole history, and ends where it would have ended.
    with pytest.raises(KeyboardInterrupt):
        train(fresh_model(), tiny_fold(Interrupts(0, signal.SIGINT)), replace(SETTINGS, steps=12), tmp_path / "run",
              towers="towers", resume=True)  # fmt: skip
    train(fresh_model(), tiny_fold(), replace(SETTINGS, steps=12), tmp_path / "run", towers="towers", resume=True)
    assert read_header(tmp_path / "run" / "last.safetensors")["provenance"]["lengths"] == [[0, 6], [6, 9], [9, 12]]
    with pytest.raises(TrainingError, match="has done 12 steps already, and this run would have 6"):
        train(fresh_model(), tiny_fold(), SETTINGS, tmp_path / "run", towers="towers", resume=True)


def test_presence_is_there_from_the_first_checkpoint_and_is_not_fitted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(SETTINGS, presence_pictures=8)
    with pytest.raises(KeyboardInterrupt):
        train(fresh_model(), tiny_fold(Interrupts(25, signal.SIGINT)), config, tmp_path / "run", towers="towers")
    fit = read_header(tmp_path / "run" / "last.safetensors")["provenance"]["presence_fit"]
    assert fit["pictures"] == 8
    monkeypatch.setattr("clsclip.training.keeping.fit_presence", lambda *_, **__: pytest.fail("fitted again"))
    before = weights(tmp_path / "run")["presence.weight"].clone()
    summary = train(fresh_model(), tiny_fold(), config, tmp_path / "run", towers="towers", resume=True)
    assert summary.presence == fit and torch.equal(weights(tmp_path / "run")["presence.weight"], before)


def test_presence_that_cannot_be_fitted_does_not_end_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fold = replace(tiny_fold(), seen=(0,), novel=(1, 2, 3, 4))
    pairs = tuple(pair for pair in tiny_fold().train_pairs if pair[1] == 0)
    config = replace(SETTINGS, presence_pictures=8, absent=0)
    summary = train(fresh_model(), replace(fold, train_pairs=pairs), config, tmp_path, towers="towers")
    assert summary.presence is None and "never called absent" in caplog.text


def own_fold() -> Fold:
    return replace(tiny_fold(novel=()), number=-1, novel=(0, 1, 2, 3, 4))


def test_a_split_is_made_where_the_data_bring_none() -> None:
    fold = own_fold()
    found = split(fold, None, 3, own=True)
    assert found.validation is not None and "1 of 12 pictures, chosen by seed 3" in found.told
    kept = {index for index, _ in found.validation.test_pairs}
    assert len(kept) == 1 and not kept & {index for index, _ in found.training.train_pairs}
    assert set(found.training.train_pairs) | set(found.validation.test_pairs) == set(fold.train_pairs)
    assert {word for _, word in found.training.train_pairs} == {word for _, word in fold.train_pairs}
    assert split(fold, None, 3, own=True) == found
    halves = {tuple(split(fold, 0.5, seed, own=True).training.train_pairs) for seed in range(4)}
    assert len(halves) == 4
    assert split(fold, 0.0, 3, own=True).validation is None
    assert split(tiny_fold(), None, 3, own=False).validation is None
    other = Squares(5)
    other.key = lambda index: f"other-{index}"  # type: ignore[method-assign]
    given = split(replace(fold, test=other), None, 3, own=True)
    assert given.training.train_pairs == fold.train_pairs and "own list" in given.told
    assert given.validation is not None and given.validation.test is other


def test_what_is_in_the_own_list_is_not_trained_on() -> None:
    fold = own_fold()
    some = Squares(5)
    listed = {some.key(index) for index in range(5)}
    found = split(replace(fold, test=some), None, 3, own=True)
    trained = {found.training.train.key(index) for index, _ in found.training.train_pairs}
    assert trained and not trained & listed and "5 of the training list are in it too" in found.told
    assert found.validation is not None and found.validation.test is some
    assert split(replace(fold, test=some), None, 3, own=False).training.train_pairs == fold.train_pairs


def test_no_class_loses_its_last_picture() -> None:
    fold = own_fold()
    training = split(fold, 0.9, 0, own=True).training
    assert {word for _, word in training.train_pairs} == {word for _, word in fold.train_pairs}


def test_pieces_go_through_a_pipe_where_shared_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Pieces(tiny_fold(), Plan(tiny_fold(), SETTINGS), image_spec(fresh_model()), 16)
    piece = data[0]
    assert isinstance(piece, Piece) and piece.shared() is piece

    def full(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    packed = piece.shared()
    assert isinstance(packed, Unshared)
    back = packed.piece()
    assert all(torch.equal(getattr(back, name), getattr(piece, name)) for name in ("pixel_values", "target", "weight"))
    assert back.keys == piece.keys and back.step_pairs == piece.step_pairs
