"""ClsCLIP+ on the tiny bundle, whose masks are known by hand.

Longer than other files: all ways to give boxes have the same cases.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clsclip_runtime import Bundle, ClsclipRuntimeError, OptionError, Proposals, Segmenter, ZoomIn
from clsclip_runtime.limits import Limits
from clsclip_runtime.masks.upsampling import mask_at
from tests.runtime.reading import presence_of, regions_of, segmented, statuses
from tests.runtime.test_segmenter import CountingBackend
from tests.runtime.tiny_bundle import make_bundle, paint

StickerImage = npt.NDArray[np.uint8]
TIGHT = ZoomIn(crop_margin=0, min_crop_size=1)
COLOURS = ["red", "green", "blue", "yellow"]


class FixedDetector:
    """Finds the same boxes in every picture."""

    def __init__(
        self, boxes: list[list[float]], names: tuple[str, ...], classes: list[int], class_agnostic: bool = False
    ):
        self.boxes, self.names, self.classes, self.class_agnostic = boxes, names, classes, class_agnostic
        self.name, self.notes = "fixed", ("a note of the detector",)
        self.images = 0

    def batch(self, images: list[StickerImage], confidence: float | None = None) -> list[Proposals]:
        self.images += len(images)
        boxes = np.array(self.boxes, np.float32).reshape(-1, 4)
        scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
        sure = scores > (confidence or 0)
        classes = np.array(self.classes, np.int64)[sure]
        one = Proposals(boxes[sure], scores[sure], classes, self.names, f"detector {self.name}", self.notes)
        return [one.anonymous() if self.class_agnostic else one for _ in images]


def with_detector(bundle: Path, detector: FixedDetector, **options: Any) -> Segmenter:
    return Segmenter(Bundle.open(bundle), CountingBackend(), detector=detector, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def large() -> StickerImage:
    """320 x 240 grey pixels with a red square of 8 x 8 at (200, 100) and a green one of 16 x 8 at (40, 60)."""
    image = np.full((240, 320, 3), 160, np.uint8)
    image[100:108, 200:208] = (255, 0, 0)
    image[60:68, 40:56] = (0, 255, 0)
    return image


def test_a_tiny_thing_is_found_only_in_its_region(segmenter: Segmenter, large: StickerImage) -> None:
    """In the whole picture a patch is 40 x 30 pixels: too coarse for 8 x 8 pixels."""
    assert statuses(segmenter(large, "red")) == ("absent",)
    result = segmenter(large, "red", regions=[[196, 96, 212, 112]], zoom_in=TIGHT)
    expected = np.zeros((240, 320), np.bool_)
    expected[100:108, 200:208] = True
    found = result.mask("red")
    assert (found & expected).sum() / (found | expected).sum() > 0.6
    assert not found[:96].any() and not found[:, :196].any() and not found[112:].any() and not found[:, 212:].any()
    (region,) = regions_of(result)
    assert region.box == (196, 96, 212, 112)
    assert region.window == (196, 96, 212, 112)
    assert (region.mask == found).all()
    assert region.crop_mask.shape == (16, 16)
    assert region.score == pytest.approx(region.presence)
    assert result["red"].searched == ("regions",)
    assert result[0].match.how == "any"


def test_boxes_that_may_be_anything_are_asked_for_every_word(segmenter: Segmenter, large: StickerImage) -> None:
    result = segmenter(large, COLOURS, regions=[[196, 96, 212, 112], [36, 56, 60, 72]], zoom_in=ZoomIn(fallback="none"))
    assert [one.name for one in regions_of(result)] == ["red", "green"]
    assert segmented(result).tolist() == [True, True, False, False]
    assert statuses(result) == ("found", "found", "absent", "absent")
    everything = segmenter(large, COLOURS, regions=[[196, 96, 212, 112]], presence_threshold=0)
    assert len(regions_of(everything)) == 4


def test_a_named_region_is_segmented_whatever_its_presence(segmenter: Segmenter, large: StickerImage) -> None:
    regions = Proposals.from_boxes([[0, 0, 20, 20], [36, 56, 60, 72]], ["red", "green"])
    result = segmenter(large, ["red", "green", "blue"], regions=regions, zoom_in=ZoomIn(fallback="none"))
    assert segmented(result).tolist() == [True, True, False]
    assert result[0].presence is not None
    assert presence_of(result)[0] < 0.9
    assert np.isnan(presence_of(result)[2])
    assert statuses(result) == ("empty", "found", "absent")
    assert [result[word].searched for word in ("red", "green", "blue")] == [("regions",), ("regions",), ()]
    document = result.to_json()
    assert [word["presence"] is None for word in document["classes"]] == [False, False, True]
    assert document["classes"][1]["match"] == {"how": "exact", "names": ["green"], "similarity": None}
    assert [one["class"] for one in document["instances"]] == ["red", "green"]
    assert document["regions"] == {"source": "boxes", "count": 2}


def test_words_without_a_region_are_looked_for_in_the_whole_picture(segmenter: Segmenter, scene: StickerImage) -> None:
    regions = Proposals.from_boxes([[4, 4, 20, 16]], ["red"])
    result = segmenter(scene, ["red", "green", "blue"], regions=regions)
    whole = segmenter(scene, ["red", "green", "blue"])
    assert [result[at].searched for at in range(3)] == [("regions",), ("whole-image",), ("whole-image",)]
    assert (result.mask("green") == whole.mask("green")).all()
    assert segmented(result).tolist() == [True, True, False]
    assert len(regions_of(result)) == 1
    assert [one.name for one in result.instances] == ["red", "green"]
    assert result.instances[1].whole_image
    assert result.instances[1].box == (0, 0, 32, 32)


def test_a_detectors_boxes_of_the_words_class(bundle: Path, large: StickerImage) -> None:
    boxes = [[196.0, 96.0, 212.0, 112.0], [36.0, 56.0, 60.0, 72.0], [0.0, 0.0, 50.0, 50.0]]
    detector = FixedDetector(boxes, ("green", "red"), [1, 0, 0])
    segmenter = with_detector(bundle, detector)
    result = segmenter(large, ["green"], zoom_in=True)
    assert [one.box for one in regions_of(result)] == [tuple(boxes[1]), tuple(boxes[2])]
    assert [one.score for one in regions_of(result)] == pytest.approx([0.7, 0.5])
    assert [one.name for one in regions_of(result)] == ["green", "green"]
    assert result.regions is not None
    assert result.regions.source == "detector fixed"
    assert "detect" in result.timings
    assert result.notes == ["a note of the detector"]


def test_an_agnostic_detector_serves_every_word(bundle: Path, large: StickerImage) -> None:
    detector = FixedDetector([[196, 96, 212, 112]], ("thing",), [0], class_agnostic=True)
    result = with_detector(bundle, detector)(large, ["red", "blue"], zoom_in=ZoomIn(fallback="none"))
    assert [(one.name, one.region_name) for one in regions_of(result)] == [("red", None)]


def test_the_detector_and_the_encoder_run_once_for_a_picture_that_was_set(bundle: Path, scene: StickerImage) -> None:
    detector = FixedDetector([[4, 4, 20, 16]], ("red",), [0])
    segmenter = with_detector(bundle, detector)
    segmenter.set_image(scene)
    first = segmenter.predict(["red", "green"], zoom_in=True)
    segmenter.predict(["red"], zoom_in=True)
    assert detector.images == 1
    backend: Any = segmenter._backend
    assert backend.calls["image_encoder"] == 3, "the whole picture once, and the region for each call"
    called = segmenter(scene, ["red", "green"], zoom_in=True)
    assert (called.masks == first.masks).all()


@pytest.mark.parametrize("most", [1, 3, 7, 100])
def test_pairs_fill_the_calls(bundle: Path, large: StickerImage, most: int) -> None:
    """R regions and K words make ceil(R * K / most) calls, and the masks of a loop over pairs to 1e-4."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (9, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 90, (9, 2))], axis=1).astype(np.float32)
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(bundle), backend, limits=Limits(pairs_per_call=most))
    result = segmenter(large, COLOURS, regions=boxes, presence_threshold=0)
    assert len(result.pairs) == 9 * 4
    assert backend.calls["trunk"] == -(-36 // most)
    assert backend.calls["image_encoder"] == -(-9 // most)
    assert backend.largest["trunk"] <= most
    for at in range(36):
        left, top, right, bottom = result.pairs.windows[at]
        crop = np.ascontiguousarray(large[top:bottom, left:right])
        alone = segmenter(crop, COLOURS[result.pairs.classes[at]], presence_threshold=0)
        np.testing.assert_allclose(result.pairs.logits[at], alone.logits[0], atol=1e-4)
        np.testing.assert_allclose(result.pairs.presence[at], presence_of(alone)[0], atol=1e-4)  # type: ignore[index]


def test_several_pictures_share_the_calls(bundle: Path, large: StickerImage, scene: StickerImage) -> None:
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(bundle), backend)
    regions = [[[196, 96, 212, 112]], [[4, 4, 20, 16], [0, 0, 9, 9]], np.zeros((0, 4))]
    options: dict[str, Any] = {"zoom_in": ZoomIn(fallback="none"), "presence_threshold": 0}
    together = segmenter.batch([large, scene, large], COLOURS, regions=regions, **options)
    assert backend.calls["trunk"] == backend.calls["image_encoder"] == backend.calls["presence"] == 1
    for image, boxes, result in zip([large, scene, large], regions, together, strict=True):
        alone = segmenter(image, COLOURS, regions=boxes, **options)
        assert (alone.masks == result.masks).all()
        assert [one.box for one in regions_of(alone)] == [one.box for one in regions_of(result)]
    backend.calls.clear()
    whole = segmenter.batch([large, scene], ["red", "green"])
    assert backend.calls["image_encoder"] == backend.calls["trunk"] == 1
    assert (whole[1].masks == segmenter(scene, ["red", "green"]).masks).all()
    assert segmenter.batch([], "red") == []


def test_memory_bounds_the_crops_of_a_call(bundle: Path, large: StickerImage) -> None:
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(bundle), backend, limits=Limits(memory_mb=1))
    boxes = np.tile(np.array([[10, 10, 50, 50]], np.float32), (40, 1))
    result = segmenter(large, ["red", "green"], regions=boxes, presence_threshold=0)
    assert len(result.pairs) == 80
    assert 1 < backend.calls["trunk"] < 80
    assert backend.largest["image_encoder"] < 40


def test_five_thousand_boxes(segmenter: Segmenter, large: StickerImage) -> None:
    rng = np.random.default_rng(1)
    boxes = np.concatenate([rng.uniform(-50, 330, (5000, 2)), rng.uniform(-50, 330, (5000, 2))], axis=1)
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    boxes[0] = (196, 96, 212, 112)
    result = segmenter(large, ["red", "green"], regions=boxes)
    assert result.mask("red").shape == (240, 320)
    assert result.mask("red")[100:108, 200:208].mean() > 0.7
    assert len(regions_of(result)) < 5000


BOXES = arrays(
    np.float32, st.tuples(st.integers(0, 6), st.just(4)), elements=st.floats(width=32) | st.floats(-9, 60, width=32)
)


@settings(max_examples=40)
@given(BOXES)
def test_any_boxes_are_segmented_have_none_or_are_refused(
    segmenter: Segmenter, scene: StickerImage, boxes: npt.NDArray[np.float32]
) -> None:
    options: dict[str, Any] = {"presence_threshold": 0, "zoom_in": ZoomIn(fallback="none")}
    try:
        result = segmenter(scene, ["red", "green"], regions=boxes, **options)
    except OptionError as error:
        refused = (boxes[:, 2:] < boxes[:, :2]).any() or "all regions lie in 0..1" in str(error)
        assert refused, error
        return
    assert result.masks.shape == (2, 32, 32)
    for region in regions_of(result):
        left, top, right, bottom = region.window
        outside = region.mask.copy()
        outside[top:bottom, left:right] = False
        assert not outside.any()
    result.overlay()


@settings(max_examples=12)
@given(st.permutations(range(5)), st.sampled_from([1, 2, 3, 50]))
def test_joining_does_not_depend_on_order_or_calls(
    bundle: Path, scene: StickerImage, order: list[int], most: int
) -> None:
    boxes = np.array([[4, 4, 20, 16], [0, 0, 32, 32], [4, 4, 12, 12], [8, 20, 16, 28], [4, 4, 20, 16]], np.float32)
    segmenter = Segmenter(Bundle.open(bundle), CountingBackend(), limits=Limits(pairs_per_call=most))
    reference = segmenter(scene, ["red", "green"], regions=boxes, zoom_in=TIGHT)
    again = segmenter(scene, ["red", "green"], regions=boxes[order], zoom_in=TIGHT)
    assert (again.masks == reference.masks).all()
    twice = segmenter(scene, ["red", "green"], regions=np.concatenate([boxes, boxes]), zoom_in=TIGHT)
    assert (twice.masks == reference.masks).all(), "a mask joined with itself is itself"
    joined = np.zeros((2, 32, 32), np.bool_)
    for region in reference.instances:
        joined[region.index] |= region.mask
    assert (joined == reference.masks).all()


def test_one_pixel_boxes(segmenter: Segmenter, scene: StickerImage) -> None:
    result = segmenter(scene, "red", regions=[[8, 8, 9, 9]], zoom_in=TIGHT)
    expected = np.zeros((32, 32), np.bool_)
    expected[8, 8] = True
    assert (result.mask("red") == expected).all()


def test_boxes_alone_as_masks(bundle: Path, large: StickerImage) -> None:
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(bundle), backend)
    regions = Proposals.from_boxes([[10.4, 20.6, 30, 40], [0, 0, 5, 5], [2, 2, 9, 9]], ["red", "blue", "red"])
    result = segmenter(large, ["red", "green"], regions=regions, zoom_in=ZoomIn(boxes_as_masks=True))
    expected = np.zeros((240, 320), np.bool_)
    expected[21:40, 10:30] = True
    expected[2:9, 2:9] = True
    assert (result.mask("red") == expected).all()
    assert statuses(result) == ("found", "absent")
    assert backend.calls["trunk"] == backend.calls["image_encoder"] == 0


def test_where_a_word_was_looked_for(segmenter: Segmenter, scene: StickerImage) -> None:
    boxes = [[4, 4, 20, 16]]
    empty = segmenter(scene, ["red", "blue"], regions=boxes, zoom_in=ZoomIn(fallback="none"))
    assert [empty[word].searched for word in ("red", "blue")] == [("regions",), ("regions",)]
    both = segmenter(scene, ["red", "blue"], regions=boxes)
    assert [both[word].searched for word in ("red", "blue")] == [("regions",), ("regions", "whole-image")]
    assert segmenter(scene, "red")["red"].searched == ("whole-image",)


def test_every_word_may_be_asked_of_every_box_of_a_detector(bundle: Path, large: StickerImage) -> None:
    detector = FixedDetector([[196, 96, 212, 112]], ("cat",), [0])
    segmenter = with_detector(bundle, detector)
    assert not regions_of(segmenter(large, "red", zoom_in=ZoomIn(fallback="none")))
    found = segmenter(large, ["red", "blue"], zoom_in=ZoomIn(fallback="none", class_agnostic=True))
    assert [(one.name, one.region_name) for one in regions_of(found)] == [("red", None)]


def test_a_call_says_how_sure_a_detector_must_be(bundle: Path, scene: StickerImage) -> None:
    detector = FixedDetector([[4, 4, 20, 16], [8, 20, 16, 28]], ("red",), [0, 0])
    segmenter = with_detector(bundle, detector)
    segmenter.set_image(scene)
    for confidence, boxes in ((None, 2), (0.6, 1), (0.6, 1), (0.95, 0)):
        zoom = ZoomIn(confidence=confidence, boxes_as_masks=True)
        for result in (segmenter.predict("red", zoom_in=zoom), segmenter(scene, "red", zoom_in=zoom)):
            assert result.regions is not None
            assert len(result.regions) == boxes
    assert detector.images == 4 + 3, "a picture that was set is looked at again only for another bound"
    for value in (-0.1, 1.5, True, "high", float("nan"), 0j, np.timedelta64(0)):
        with pytest.raises(OptionError, match="confidence must be a number from 0 to 1"):
            ZoomIn(confidence=value)  # type: ignore[arg-type]


def test_detections_belong_to_their_detector(bundle: Path, scene: StickerImage) -> None:
    first = with_detector(bundle, FixedDetector([[4, 4, 20, 16]], ("red",), [0]))
    second = with_detector(bundle, FixedDetector([[0, 0, 9, 9]], ("red",), [0]))
    features = first.set_image(scene)
    for segmenter, box in ((first, (4, 4, 20, 16)), (second, (0, 0, 9, 9))):
        assert segmenter.predict("red", image=features, zoom_in=True).instances[0].box == box


def test_a_call_that_has_begun_ends_though_another_closes(bundle: Path, photo: Path) -> None:
    class Closing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            segmenter.close()
            return super().read(size)

    for options in ({}, {"zoom_in": True}, {"regions": [[4, 4, 20, 16]]}):
        segmenter = with_detector(bundle, FixedDetector([[4, 4, 20, 16]], ("red",), [0]))
        result = segmenter(Closing(photo.read_bytes()), "red", **options)  # type: ignore[arg-type]
        assert result.mask("red").any()
        with pytest.raises(ClsclipRuntimeError, match="closed"):
            segmenter(photo, "red", zoom_in=True)


def test_threads_share_a_segmenter(bundle: Path) -> None:
    segmenter = with_detector(bundle, FixedDetector([[0, 0, 20, 20], [8, 8, 32, 32]], ("red", "green"), [0, 1]))
    rng = np.random.default_rng(5)
    images = [(rng.integers(0, 2, (8, 8, 3)) * 255).repeat(4, 0).repeat(4, 1).astype(np.uint8) for _ in range(12)]
    alone = [segmenter(image, ["red", "green"], zoom_in=True).masks for image in images]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda one: segmenter(one, ["red", "green"], zoom_in=True).masks, images * 4))
    assert all((masks == alone[at % 12]).all() for at, masks in enumerate(together))


def test_wrong_use_is_told(segmenter: Segmenter, scene: StickerImage) -> None:
    with pytest.raises(OptionError, match="zoom_in must be True, False or a ZoomIn"):
        segmenter(scene, "red", zoom_in="yes")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="2 images need as many lists of regions, not 1"):
        segmenter.batch([scene, scene], "red", regions=[[[0, 0, 1, 1]]])
    with pytest.raises(OptionError, match="list with the regions of every image"):
        segmenter.batch([scene], "red", regions=Proposals.from_boxes([[0, 0, 1, 1]]))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="takes a list of images"):
        segmenter.batch("photo.png", "red")
    with pytest.raises(OptionError, match="boxes_as_masks must be True or False"):
        ZoomIn(boxes_as_masks="no")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="proposals need boxes"):
        Proposals(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([3]), ("dog",), "hand")
    assert ZoomIn(crop_margin=np.float32(0.5), min_crop_size=np.int64(3)).min_crop_size == 3  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="has no logits of the whole image"):
        _ = segmenter(scene, "red", regions=[[0, 0, 9, 9]]).logits
    with pytest.raises(OptionError, match="pairs_per_call must be"):
        Segmenter(segmenter.bundle, CountingBackend(), limits=Limits(pairs_per_call=0))


def test_without_a_gate_every_word_is_segmented_in_every_box(tmp_path: Path, scene: StickerImage) -> None:
    with Segmenter.load(make_bundle(tmp_path / "plain", presence=False)) as segmenter:
        result = segmenter(scene, ["red", "blue"], regions=[[4, 4, 20, 16]])
    assert [one.presence for one in regions_of(result)] == [None, None]
    assert [one.score for one in regions_of(result)] == [1.0, 1.0]
    assert np.isnan(presence_of(result)).all()


def test_masks_of_a_window_are_bilinear_in_the_window(segmenter: Segmenter, scene: StickerImage) -> None:
    result = segmenter(scene, "red", regions=[[3, 3, 21, 17]], zoom_in=TIGHT)
    left, top, right, bottom = regions_of(result)[0].window
    own = mask_at(result.pairs.logits[0], (right - left, bottom - top), result.mask_logit)
    assert (result.mask("red")[top:bottom, left:right] == own).all()


def test_painted_squares_are_found_in_their_regions(segmenter: Segmenter) -> None:
    image = paint({"red": (slice(0, 2), slice(0, 2)), "green": (slice(5, 8), slice(5, 8))}, size=320)
    result = segmenter(image, ["red", "green"], regions=[[0, 0, 100, 100], [180, 180, 320, 320]])
    assert result.mask("red")[10:70, 10:70].all()
    assert result.mask("green")[210:310, 210:310].all()
    assert not (result.mask("red") & result.mask("green")).any()
