"""Thresholds fitted on what was counted, against masks counted one by one; and the command that stores them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsclip.checkpoint import change_provenance, load_checkpoint, mask_threshold_of, read_header
from clsclip.cli.evaluate import main
from clsclip.data.marks import marks_of
from clsclip.evaluation.predictors import Logits, open_predictor
from clsclip.evaluation.thresholds import (
    MASK_THRESHOLDS,
    PRESENCE_THRESHOLDS,
    above,
    best,
    count,
    leakages,
    point,
    sample,
    surface,
)
from clsclip_runtime.masks.upsampling import logit, mask_at
from tests.clsclip.training.tiny_fold import WORDS, Squares, tiny_fold, write_squares
from tests.tiny import tiny_model


def own_fold(data: Squares):  # type: ignore[no-untyped-def]
    fold = replace(tiny_fold(data, novel=()), number=-1, novel=(0, 1, 2, 3, 4))
    return replace(fold, test_pairs=fold.train_pairs)


class Blurred:
    """Logits that are right where they are above -1, and too low by 1 elsewhere; absent words get the presence 0.3."""

    def __init__(self, data: Squares) -> None:
        self.data = data

    def __call__(self, image: np.ndarray, words: list[str]) -> Logits:
        at = self.data.reads[-1]
        logits = np.full((len(words), 20, 20), -4.0, np.float32)
        presence = np.full(len(words), 0.3, np.float32)
        for row, word in enumerate(words):
            place = self.data.places(at).get(WORDS.index(word))
            if place is None:
                logits[row, 2:9, 2:9] = 2.0
                continue
            rows, columns = (slice(one.start // 2, one.stop // 2) for one in place)
            logits[row, rows, columns] = -1.0
            presence[row] = 0.7
        return Logits(logits, presence)


def test_counts_are_those_of_masks() -> None:
    data = Squares()
    fold = own_fold(data)
    draws = Blurred(data)
    (counts,) = count(fold, draws, lambda done, total: None)
    assert counts.images == 12 and counts.shown.sum() == len(fold.test_pairs)
    data.image(0)
    found = draws(data.image(0), [WORDS[one] for one in data.shown(0)])
    for row, word in enumerate(data.shown(0)):
        truth = data.mask(0, word)
        for at in (0, 10, len(MASK_THRESHOLDS) - 1):
            mask = mask_at(found.logits[row], (40, 40), logit(float(MASK_THRESHOLDS[at]))) & (truth != 255)
            assert counts.words[row] == word
            assert counts.marked[row, at] == mask.sum() and counts.hits[row, at] == (mask & (truth == 1)).sum()


def test_the_best_pair_separates_what_can_be_separated() -> None:
    data = Squares()
    (counts,) = count(own_fold(data), Blurred(data), lambda done, total: None)
    found = best(counts)
    assert 0.3 < found.presence <= 0.7 and found.mask < 0.27
    assert found.present_kept == 1 and found.absent_kept == 0 and found.leakage == 0
    usual = point(counts, 0.5, 0.0)
    assert usual.absent_kept == 1 and usual.iou < found.iou
    none = replace(counts, presence=np.full(len(counts.words), np.nan))
    assert best(none).presence == 0  # type: ignore[union-attr]


def test_leakage_may_have_a_limit() -> None:
    data = Squares()
    (counts,) = count(own_fold(data), Blurred(data), lambda done, total: None)
    grid = leakages(counts)
    for row, column in ((0, 0), (10, 5), (20, 20), (48, 36)):
        one = point(counts, float(MASK_THRESHOLDS[column]), float(PRESENCE_THRESHOLDS[row]))
        assert grid[row, column] == pytest.approx(np.inf if np.isnan(one.leakage) else one.leakage)
    alike = replace(counts, presence=np.full(len(counts.words), 0.5))  # presence cannot tell them apart
    free = best(alike)
    assert free is not None and free.leakage > 0.1
    own = replace(alike, marked=alike.marked.copy())
    own.marked[~own.shown, :20] = 1  # now the lower mask thresholds leak next to nothing
    bound = best(own, free.leakage / 2)
    assert bound is not None and bound.leakage <= free.leakage / 2
    grid = np.where(leakages(own) <= free.leakage / 2, surface(own), -1)
    assert bound.iou == pytest.approx(grid.max())
    shown = replace(alike, shown=np.zeros_like(alike.shown) | (np.arange(len(alike.shown)) == 0))
    assert best(shown, 1e-9) is None


def test_logits_of_faint_masks_are_lowered_while_counting() -> None:
    data = Squares()
    plain, none, faint = count(own_fold(data), Blurred(data), lambda done, total: None, (0.0, 1.5, 2.5))
    at = int(np.argmin(np.abs(MASK_THRESHOLDS - 0.5)))
    assert [one.least_confidence for one in (plain, none, faint)] == [0, 1.5, 2.5]
    absent = ~plain.shown  # their marks have logits of 2, so a confidence of nearly 2
    assert (none.marked[absent, at] == plain.marked[absent, at]).all() and plain.marked[absent, at].min() > 0
    assert (faint.marked[absent, at + 12] < plain.marked[absent, at + 12]).all()


def test_above_is_a_comparison() -> None:
    values = np.array([-1.0, 0.0, 0.5, 0.5, 3.0], np.float32)
    steps = np.array([-2.0, 0.0, 0.5, 4.0], np.float32)
    assert above(values, steps).tolist() == [int((values > one).sum()) for one in steps] == [5, 3, 1, 0]


def test_a_sample_does_not_hang_on_the_order() -> None:
    fold = own_fold(Squares())
    kept = {index for index, _ in sample(fold, 5).test_pairs}
    turned = replace(fold, test_pairs=tuple(reversed(fold.test_pairs)))
    assert len(kept) == 5 and kept == {index for index, _ in sample(turned, 5).test_pairs}
    assert sample(fold, None) is fold


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder of pictures, and a checkpoint with its towers."""
    from clsclip.checkpoint import save_checkpoint
    from clsclip.tower_files import save_towers
    from tests.tiny import tiny_config

    model = tiny_model()
    save_towers(model.towers, tiny_config(), tmp_path / "towers")
    save_checkpoint(model, tmp_path / "last.safetensors", "towers", {"templates": ["a {}"], "presence_threshold": 0.25})
    write_squares(tmp_path / "data", 4)
    return tmp_path


def test_the_command_writes_into_a_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "last.safetensors"
    before = load_checkpoint(path)[0].learned_state()
    use = ["threshold", "--data", "folder", "--root", str(run / "data"), "--model", str(path)]
    assert main([*use, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pictures"] == 4 and found["stored"]["presence"] == 0.25 and found["stored"]["mask"] == 0.5
    assert "mask_threshold" not in read_header(path)["provenance"]
    assert main([*use, "--write", "--out", str(run / "curves.png")]) == 0
    assert "4 pictures are few" in (told := capsys.readouterr().out) and "stored in" in told
    with Image.open(run / "curves.png") as drawn:
        assert drawn.size[0] > 300
    provenance = read_header(path)["provenance"]
    assert provenance["mask_threshold"] == found["best"]["mask"]
    assert provenance["presence_threshold"] == found["best"]["presence"] and provenance["templates"] == ["a {}"]
    after = load_checkpoint(path)[0].learned_state()
    assert all((after[name] == value).all() for name, value in before.items())
    predictor = open_predictor(path)
    assert predictor.mask_threshold == found["best"]["mask"]  # type: ignore[attr-defined]


def test_pictures_that_were_trained_on_are_left_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "last.safetensors"
    use = ["threshold", "--data", "folder", "--root", str(run / "data"), "--model", str(path)]
    change_provenance(path, {"trained_pictures": marks_of(["square-0", "square-1", "square-2"])})
    assert main(use) == 0
    assert "1 pictures, " in (told := capsys.readouterr().out) and "3 others were trained on and left out" in told
    change_provenance(path, {"trained_pictures": marks_of([f"square-{one}" for one in range(4)])})
    assert main(use) == 1
    assert "trained on all 4 pictures" in capsys.readouterr().err
    assert main([*use, "--trained-too"]) == 0


def test_the_command_writes_into_a_bundle(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from clsclip_runtime.bundle.opening import EMBEDDED, Bundle

    shutil.copytree(EMBEDDED, run / "m.clsclip")
    use = ["threshold", "--data", "folder", "--root", str(run / "data"), "--model", str(run / "m.clsclip")]
    assert main([*use, "--limit", "2", "--write", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    manifest = Bundle.open(run / "m.clsclip").manifest
    assert manifest.mask.threshold == found["best"]["mask"]
    assert manifest.presence is not None and manifest.presence.threshold == found["best"]["presence"]


def test_mask_thresholds_that_cannot_be_are_not_taken() -> None:
    assert mask_threshold_of({"mask_threshold": 0.3}) == 0.3
    for value in (None, 0.0, 1.0, float("nan"), "0.3", 5):
        assert mask_threshold_of({"mask_threshold": value}) == 0.5
