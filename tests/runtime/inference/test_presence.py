from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime import Bundle, BundleError, OptionError, Segmenter
from clsclip_runtime.bundle.specs import PresenceSpec
from clsclip_runtime.inference.presence import PresenceFilter, choose_filter
from tests.runtime.reading import presence_of, regions_of, segmented, statuses
from tests.runtime.test_segmenter import CountingBackend
from tests.runtime.tiny_bundle import make_bundle, paint

StickerImage = npt.NDArray[np.uint8]
SCORES = st.sampled_from([0.0, 0.2, 0.5, 0.5000001, 0.9, 1.0])

FITTED, UNFITTED = (PresenceSpec("filter", "probability", threshold) for threshold in (0.6, 0.0))


def slow_choice(
    asked: Any, named: Any, presence: Any, thresholds: Any, max_classes: int | None
) -> set[tuple[int, int]]:
    """The rule, one crop and one word at a time."""
    chosen = set()
    for crop in range(len(asked)):
        words = [word for word in range(len(asked[crop])) if asked[crop][word]]
        if not named[crop]:
            likely = [word for word in words if presence[crop][word] >= np.float32(thresholds[crop])]
            words = sorted(likely, key=lambda word, of=presence[crop]: -of[word])[:max_classes]
        chosen |= {(crop, word) for word in words}
    return chosen


@given(st.data(), st.integers(1, 4), st.integers(1, 7), SCORES, st.none() | st.integers(1, 8), st.none() | SCORES)
def test_pairs_are_chosen_by_the_rule(
    data: st.DataObject, crops: int, words: int, threshold: float, max_classes: int | None, in_tiles: float | None
) -> None:
    def table(values: st.SearchStrategy[Any]) -> Any:
        row = st.lists(values, min_size=words, max_size=words)
        return data.draw(st.lists(row, min_size=crops, max_size=crops))

    asked, presence = np.array(table(st.booleans())), np.array(table(SCORES), np.float32)
    named, tiled = (np.array(data.draw(st.lists(st.booleans(), min_size=crops, max_size=crops))) for _ in range(2))
    chosen, outranked = PresenceFilter(threshold, max_classes, in_tiles).choose(asked, named, tiled, presence)
    thresholds = [in_tiles if tile and in_tiles is not None else threshold for tile in tiled]
    expected = slow_choice(asked, named, presence, thresholds, max_classes)
    assert set(zip(*np.nonzero(chosen), strict=True)) == expected
    without = slow_choice(asked, named, presence, thresholds, None)
    assert set(zip(*np.nonzero(outranked), strict=True)) == without - expected


def test_what_the_gate_is_by_default() -> None:
    assert choose_filter(None, None, None, spec=FITTED) == (PresenceFilter(0.6), ())
    assert choose_filter(None, None, None, spec=UNFITTED) == (None, ())
    assert choose_filter(True, None, None, spec=UNFITTED) == (PresenceFilter(0.0), ())
    assert choose_filter(None, None, 3, spec=UNFITTED) == (PresenceFilter(0.0, 3), ())
    assert choose_filter(None, 0.2, None, spec=FITTED) == (PresenceFilter(0.2), ())
    assert choose_filter(False, 0, None, spec=FITTED) == (None, ())
    assert choose_filter(None, None, None, spec=None) == (None, ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presence_filter": "on"}, "presence_filter must be True, False or None"),
        ({"max_classes": 0}, "max_classes must be a whole number"),
        ({"max_classes": True}, "max_classes must be a whole number"),
        ({"max_classes": 2.5}, "max_classes must be a whole number"),
        ({"presence_filter": False, "max_classes": 2}, "max_classes needs the presence filter"),
        ({"presence_filter": False, "presence_threshold": 0.3}, "presence_threshold needs the presence filter"),
    ],
)
def test_what_makes_no_sense_is_told_before_the_picture_is_read(
    segmenter: Segmenter, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        segmenter("/no/such/picture.png", ["red"], **options)


def test_a_bundle_without_a_gate_cannot_have_one(tmp_path: Path, scene: StickerImage) -> None:
    folder = make_bundle(tmp_path / "plain", presence=False)
    with pytest.raises(OptionError, match="presence_filter=True needs presence, and the bundle cannot tell it"):
        Segmenter.load(folder, presence_filter=True)
    with Segmenter.load(folder, presence_filter=False) as plain:
        assert segmented(plain(scene, ["red", "blue"])).all()
        with pytest.raises(OptionError, match="presence_filter is False"):
            plain(scene, ["red"], max_classes=1)
        with pytest.raises(OptionError, match="needs presence"):
            plain(scene, ["red"], presence_filter=True)


def test_only_the_likeliest_words_reach_the_trunk(bundle: Path) -> None:
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(bundle), backend, presence_filter=True, max_classes=2)
    scene = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})
    result = segmenter(scene, ["blue", "green", "dining table", "red", "yellow"], presence_threshold=0.3)
    assert backend.rows["trunk"] == 2
    assert segmented(result).tolist() == [False, True, False, True, False]
    assert statuses(result) == ("filtered", "found", "absent", "found", "filtered")
    assert tuple(one.reason for one in result) == (
        "outside the top 2",
        None,
        "presence below 0.30",
        None,
        "outside the top 2",
    )
    assert result[0].presence is not None
    assert presence_of(result)[0] > 0.3
    assert not result.masks[[0, 2, 4]].any()
    assert result.max_classes == 2
    every = segmenter(scene, ["blue", "green", "red"], presence_threshold=0, max_classes=3)
    assert segmented(every).all()


def test_without_the_gate_no_presence_is_computed(bundle: Path, scene: StickerImage) -> None:
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(bundle), backend)
    result = segmenter(scene, ["red", "blue"], presence_filter=False)
    assert backend.calls["presence"] == 0
    assert np.isnan(presence_of(result)).all()
    assert result.presence_threshold is None
    assert segmented(result).all()
    assert [one.reason for one in result] == [None, None]
    expected = segmenter(scene, ["red", "blue"], presence_threshold=0)
    assert backend.calls["presence"] == 1
    assert (result.masks == expected.masks).all()
    segmenter.set_image(scene)
    assert (segmenter.predict(["red"], presence_filter=False).masks[0] == expected.masks[0]).all()


def test_top_k_holds_for_every_crop_by_itself(bundle: Path) -> None:
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(bundle), backend)
    scene = paint({"red": (slice(0, 2), slice(0, 2)), "green": (slice(6, 8), slice(6, 8))})
    boxes = [[0, 0, 8, 8], [24, 24, 32, 32]]
    result = segmenter(scene, ["red", "green"], regions=boxes, presence_threshold=0, max_classes=1)
    assert [(one.name, one.box[0]) for one in regions_of(result)] == [("red", 0), ("green", 24)]
    assert statuses(result) == ("found", "found")


def test_words_beyond_the_memory_of_a_call_are_asked_in_parts(bundle: Path, scene: StickerImage) -> None:
    backend = CountingBackend()
    words = ["blue", "red", "green", "white", "yellow"]
    opened = Bundle.open(bundle)
    expected = Segmenter(opened, backend)(scene, words)
    memory = replace(opened.manifest.memory, presence_pair_bytes=600 << 20)
    large = replace(opened, manifest=replace(opened.manifest, memory=memory))
    result = Segmenter(large, backend)(scene, words)
    assert backend.calls["presence"] == 1 + 5
    assert result[0].presence is not None
    np.testing.assert_allclose(presence_of(result), presence_of(expected), atol=1e-6)
    assert (result.masks == expected.masks).all()


@pytest.mark.parametrize("takes_patch_features", [False, True])
def test_without_the_gate_the_stem_is_enough(tmp_path: Path, scene: StickerImage, takes_patch_features: bool) -> None:
    """Unless the trunk reads what only the whole encoder gives."""
    folder = make_bundle(tmp_path / "tiny", stem_graph=True, trunk_takes_patch_features=takes_patch_features)
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(folder), backend)
    expected = segmenter(scene, ["red", "blue"], presence_threshold=0)
    assert (backend.calls["stem"], backend.calls["image_encoder"]) == (0, 1)
    result = segmenter(scene, ["red", "blue"], presence_filter=False)
    assert (backend.calls["stem"], backend.calls["image_encoder"]) == ((0, 2) if takes_patch_features else (1, 1))
    np.testing.assert_allclose(result.logits, expected.logits, atol=1e-5)


def test_an_encoder_that_nobody_asks_for_is_not_loaded(tmp_path: Path, scene: StickerImage) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "tiny", stem_graph=True))
    for gate, other_gate, first, other in (
        (False, True, "stem", "image_encoder"),
        (True, False, "image_encoder", "stem"),
    ):
        backend = CountingBackend()
        segmenter = Segmenter(bundle, backend, presence_filter=gate)
        usual = segmenter(scene, ["red", "green"])
        assert (backend.loaded[first], backend.loaded[other]) == (1, 0)
        segmenter.set_image(scene)
        assert np.array_equal(segmenter.predict(["red", "green"]).masks, usual.masks)
        assert (backend.loaded[first], backend.loaded[other]) == (1, 0)
        asked = segmenter.predict(["red", "green"], presence_filter=other_gate)
        assert np.array_equal(asked.masks, usual.masks)
        assert np.isnan(presence_of(asked)).all() == (not other_gate)
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(segmenter, scene, ["red", "green"], presence_filter=other_gate) for _ in range(8)]
        for call in calls:
            assert np.array_equal(call.result().masks, usual.masks)
        assert (backend.loaded[first], backend.loaded[other]) == (1, 1)


def test_a_graph_that_is_loaded_later_is_verified_again(tmp_path: Path, scene: StickerImage) -> None:
    folder = make_bundle(tmp_path / "tiny", stem_graph=True)
    segmenter = Segmenter(Bundle.open(folder), CountingBackend(), presence_filter=False)
    weights = folder / "vision.weights"
    kept = weights.read_bytes()
    weights.write_bytes(kept[::-1])
    with pytest.raises(BundleError, match=r"vision\.weights in .* is damaged"):
        segmenter(scene, ["red"], presence_filter=True)
    weights.write_bytes(kept)
    assert segmented(segmenter(scene, ["red"], presence_filter=True)).all()


def test_a_stem_that_is_not_enough_costs_no_second_load(tmp_path: Path, scene: StickerImage) -> None:
    folder = make_bundle(tmp_path / "tiny", stem_graph=True, trunk_takes_patch_features=True)
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(folder), backend, presence_filter=False)
    loaded = backend.loaded.copy()
    segmenter(scene, ["red"])
    assert backend.loaded == loaded, "nothing is loaded in the first call"
