"""What a report says about pictures and words that the model was trained on; figures of one's own data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clsclip.data.base import IGNORE
from clsclip.data.marks import MOST_IMAGES, marked, marks_of
from clsclip.evaluation import Method, Prediction, Protocol, evaluate, table
from clsclip.evaluation.seen import told_apart, what_was_trained
from tests.clsclip.evaluation.doubles import FixedMasks
from tests.clsclip.training.tiny_fold import WORDS, Squares, tiny_fold


def test_marks_know_names_and_nothing_else() -> None:
    marks = marks_of(f"picture-{one}" for one in range(500))
    assert marked(["picture-3", "picture-499", "picture-500", "x"], marks) == ["picture-3", "picture-499"]
    assert marks_of(map(str, range(MOST_IMAGES + 1))) is None
    for damaged in (None, {}, [], {"names_crc32": 5}, {"names_crc32": "%%%"}, {"names_crc32": "AAA="}):
        assert marked(["a"], damaged) is None


class Perfect:
    """Draws the true squares, one row too far, and a corner for every absent word."""

    name = "perfect"

    def __init__(self, data: Squares, provenance: dict[str, object]) -> None:
        self.data, self.provenance = data, provenance

    def predict(self, image, words, mask_threshold=None) -> Prediction:  # type: ignore[no-untyped-def]
        at = self.data.reads[-1]
        masks = np.zeros((len(words), *image.shape[:2]), np.bool_)
        for row, word in enumerate(words):
            place = self.data.places(at).get(WORDS.index(word))
            if place is None:
                masks[row, 1:3, :2] = True
            else:
                masks[row, place[0].start : place[0].stop + 1, place[1]] = True
        return Prediction(masks)


def own() -> tuple[Squares, Perfect]:
    data = Squares()
    return data, Perfect(
        data, {"trained_pictures": marks_of(["square-1", "square-4", "elsewhere"]), "seen_words": WORDS}
    )


def test_pictures_and_words_that_were_trained_are_told() -> None:
    data, model = own()
    fold = replace(tiny_fold(data, novel=()), novel=(0, 1, 2, 3, 4), test_pairs=tiny_fold(data, novel=()).train_pairs)
    report = what_was_trained(evaluate(replace(fold, number=-1), Method(model), Protocol(every=True)), model, fold)
    assert [note for note in report.notes if "2 of 12 pictures" in note and "better than" in note]
    assert report.own and not any("zero-shot" in note for note in report.notes)
    model.provenance["seen_words"] = ["dog", "cat"]
    of_benchmark = what_was_trained(evaluate(fold, Method(model), Protocol(every=True)), model, fold)
    assert any("no zero-shot test: dog, cat" in note for note in of_benchmark.notes)


def test_precision_recall_and_leakage_are_those_of_counting() -> None:
    data, model = own()
    fold = replace(tiny_fold(data, novel=()), number=-1, novel=(0, 1, 2, 3, 4))
    fold = replace(fold, test_pairs=fold.train_pairs)
    report = evaluate(fold, Method(model), Protocol(every=True))
    for class_id, found in enumerate(report.classes):
        hits = marked_pixels = true = 0
        for index in range(len(data)):
            place = data.places(index).get(class_id)
            if place is None:
                continue
            truth = data.mask(index, class_id)
            drawn = np.zeros(truth.shape, np.bool_)
            drawn[place[0].start : place[0].stop + 1, place[1]] = True
            drawn &= truth != IGNORE
            hits += int((drawn & (truth == 1)).sum())
            marked_pixels += int(drawn.sum())
            true += int((truth == 1).sum())
        assert found.precision == pytest.approx(100 * hits / marked_pixels)
        assert found.recall == pytest.approx(100 * hits / true) == 100
        images = sum(class_id in data.shown(index) for index in range(len(data)))
        assert found.leakage == pytest.approx(4 / (marked_pixels / images))
    text = table([report])
    assert text.splitlines()[2] == "| class | IoU | precision | recall | leakage | pictures |" and "fold" not in text


def test_equal_names_get_numbers() -> None:
    methods = told_apart([Method(FixedMasks({})), Method(FixedMasks({})), Method(None)])
    assert [one.name for one in methods] == ["fixed", "fixed #2", ""]
