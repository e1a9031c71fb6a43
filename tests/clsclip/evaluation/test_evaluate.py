"""The loop: what is asked, what is counted, what is reported."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from clsclip.evaluation import Method, Protocol, TruthRegions, evaluate, mean_of, table
from clsclip.evaluation.evaluate import absent_words, plan, score
from clsclip_runtime import ZoomIn
from tests.clsclip.data.made import labels_with
from tests.clsclip.evaluation.doubles import FixedMasks, MadeImages


def three_images() -> MadeImages:
    return MadeImages(
        [
            labels_with((1, (0, 0, 10, 10)), (255, (0, 0, 10, 2)), size=(20, 20)),
            labels_with((2, (10, 10, 20, 20)), size=(20, 20)),
            labels_with((1, (0, 0, 4, 10)), (2, (10, 0, 14, 10)), size=(20, 20)),
        ]
    )


BOXES = {"cat": (0, 0, 10, 10), "dog": (0, 0, 20, 5), "tv monitor": (0, 0, 20, 1)}


def test_every_figure_by_hand() -> None:
    fold = three_images().fold()
    found = evaluate(fold, Method(FixedMasks(BOXES)), Protocol(every=True))
    # cat: picture 0 is right but for ignored pixels (80 of 80), picture 2 has 40 of 100.
    cat = 100 * (80 + 40) / (80 + 100)
    # dog: picture 1 shares nothing (100 and 100); picture 2 shares 4 x 5 of 100 + 40 - 20.
    dog = 100 * 20 / (200 + 120)
    assert [one.iou for one in found.classes] == [
        pytest.approx(cat),
        pytest.approx(dog),
        pytest.approx(math.nan, nan_ok=True),
    ]
    assert found.miou == pytest.approx((cat + dog) / 2)
    assert found.which_word == pytest.approx((100 * 40 / 100 + 100 * 20 / 120) / 2)
    assert (found.episodes, found.pairs, found.images) == (4, 4, 3)
    assert "tv monitor" in found.notes[0]


def test_leakage_asks_as_many_absent_words() -> None:
    fold = three_images().fold()
    work = plan(fold, Protocol(every=True))
    assert [len(one.absent) for one in work] == [1, 1, 1], "picture 2 shows two words, and one is left"
    assert work[2].absent == (2,)
    for one in work:
        assert not set(one.absent) & set(fold.test.shown(one.index))
    assert absent_words(fold, 0, 1) == work[0].absent
    predictor = FixedMasks(BOXES)
    found = evaluate(fold, Method(predictor), Protocol(every=True))
    areas = {0: 100, 1: 100, 2: 20}
    # Of picture 0, the first two rows of the left half are ignored.
    ignored = {0: 20, 1: 20, 2: 10}
    present = (areas[0] - ignored[0]) + areas[1] + areas[0]
    absent = areas[work[0].absent[0]] - ignored[work[0].absent[0]] + areas[work[1].absent[0]] + areas[2]
    assert found.leakage == pytest.approx(absent / present)
    without = evaluate(fold, Method(predictor), Protocol(every=True), absent=False)
    assert math.isnan(without.leakage)
    assert without.miou == found.miou


def test_weights_give_the_number_of_a_thousand_runs() -> None:
    fold = three_images().fold()
    predictor = FixedMasks(BOXES)
    found = evaluate(fold, Method(predictor), Protocol())
    assert len(predictor.asked) == 3
    assert found.episodes == 1000
    overlap, union = np.zeros(3), np.zeros(3)
    for number in range(1000):
        index, class_id = fold.test_pairs[number % 4]
        truth = fold.test.mask(index, class_id)
        mask = FixedMasks(BOXES).predict(fold.test.image(index), [fold.test.classes[class_id]]).masks[0]
        overlap[class_id] += (mask & (truth == 1)).sum()
        union[class_id] += ((mask | (truth == 1)) & (truth != 255)).sum()
    assert found.miou == pytest.approx(np.mean(100 * overlap[:2] / union[:2]), abs=1e-9)


def test_parts_of_a_plan_add_up() -> None:
    fold = three_images().fold()
    method, protocol = Method(FixedMasks(BOXES)), Protocol()
    work = plan(fold, protocol)
    added = score(fold, method, protocol, work[::2]) + score(fold, method, protocol, work[1::2])
    whole = score(fold, method, protocol, work)
    assert (added.miou, added.fb_iou, added.leakage) == (whole.miou, whole.fb_iou, whole.leakage)


def test_sizes_change_what_the_model_sees() -> None:
    predictor = FixedMasks(BOXES)
    found = evaluate(three_images().fold(), Method(predictor), Protocol(40, every=True), limit=1)
    assert predictor.asked[0][0] == (40, 40, 3)
    # The fixed boxes now cover a quarter of what they did: 10 x 10 of 20 x 20, less the ignored 10 x 4.
    assert found.classes[0].iou == pytest.approx(100 * (100 - 40) / (400 - 80))
    assert "only the first 1 pictures" in found.notes[0]


def test_true_boxes_as_masks() -> None:
    found = evaluate(three_images().fold(), Method(None, TruthRegions()), Protocol(60, every=True))
    assert (found.miou, found.leakage, found.which_word) == (100, 0, 100)
    assert found.method == "true regions alone as masks"


def test_zooming_in_takes_regions_at_the_protocols_size() -> None:
    predictor = FixedMasks({"cat": (0, 0, 999, 999), "dog": (0, 0, 999, 999)})
    method = Method(predictor, TruthRegions(), ZoomIn(crop_margin=0, min_crop_size=1, fallback="none"))
    assert evaluate(three_images().fold(), method, Protocol(60, every=True)).miou == 100
    assert method.name == "fixed + true regions"


def test_json_and_table() -> None:
    found = evaluate(three_images().fold(), Method(FixedMasks(BOXES)), Protocol(every=True), absent=False)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["leakage"] is None
    nothing = dict.fromkeys(("iou", "precision", "recall", "leakage"))
    assert document["classes"][2] == {"word": "tv monitor", "episodes": 0} | nothing
    found = replace(found, own=False)
    text = table([found, found])
    assert text.count("| fixed |") == 2
    assert "| mean |" in text
    assert found.protocol in text
    assert mean_of([found, found])["miou"] == found.miou
    assert math.isnan(mean_of([])["miou"])


def test_an_empty_test_is_reported() -> None:
    found = evaluate(MadeImages([np.zeros((4, 4), np.uint8)]).fold(), Method(FixedMasks(BOXES)))
    assert (found.episodes, found.images) == (0, 0)
    assert math.isnan(found.miou)
    assert "-" in table([found])


def test_a_method_needs_something() -> None:
    with pytest.raises(ValueError, match="predictor, regions"):
        evaluate(three_images().fold(), Method(None), Protocol(every=True))
