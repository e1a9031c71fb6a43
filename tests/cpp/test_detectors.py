"""The C++ detectors' letterbox, layouts, suppression and matching of words against the Python runtime's."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsclip_runtime.bundle.manifest import LETTERBOXES
from clsclip_runtime.detectors import COCO_NAMES, Detector, DetectorSpec
from clsclip_runtime.detectors.layouts import LAYOUTS, cells
from clsclip_runtime.detectors.letterbox import Placed, letterbox
from clsclip_runtime.errors import DetectorError
from clsclip_runtime.regions import Proposals
from clsclip_runtime.text.matching import _SYNONYMS, is_class_agnostic, match_words
from tests.cpp.parts import Parts, PartsError
from tests.cpp.test_resize import as_pillow, given_image, random_pixels

Floats = npt.NDArray[np.float32]


def make_spec(form: str, names: int, size: tuple[int, int] = (64, 96), place: str | None = None) -> DetectorSpec:
    one = LAYOUTS[form]
    return DetectorSpec(
        output_format=form,
        names=tuple(f"thing {number}" for number in range(names)),
        height=size[0],
        width=size[1],
        channel_order=one.channel_order,
        input_scale=one.input_scale,
        letterbox=place or one.letterbox,
        batch=None,
        input_type="float32",
        class_agnostic=False,
        license="unknown",
    )


def as_json(spec: DetectorSpec) -> dict[str, Any]:
    keys = ("output_format", "height", "width", "channel_order", "input_scale", "letterbox")
    return {"names": list(spec.names), **{key: getattr(spec, key) for key in keys}}


class Given:
    """A graph whose outputs are given."""

    inputs = ("images",)

    def __init__(self, outputs: Sequence[Floats]) -> None:
        self._outputs = dict(zip("abcd", outputs, strict=False))
        self.outputs = tuple(self._outputs)

    def run(self, feeds: Any) -> dict[str, Floats]:
        return self._outputs

    def close(self) -> None:
        """Nothing to free."""


def python_found(
    spec: DetectorSpec, outputs: list[Floats], sizes: list[tuple[int, int]], limits: tuple[float, float, int]
) -> list[Proposals]:
    confidence, iou, most = limits
    detector = Detector(Given(outputs), spec, confidence=confidence, iou=iou, max_detections=most)
    return detector.batch([np.zeros((height, width, 3), np.uint8) for width, height in sizes])


def python_placed(spec: DetectorSpec, size: tuple[int, int]) -> list[float]:
    _, placed = letterbox(np.zeros((size[1], size[0], 3), np.uint8), (spec.height, spec.width), place=spec.letterbox)
    return list(vars(placed).values())


def ask(
    parts: Parts, spec: DetectorSpec, outputs: list[Floats], placed: Any, limits: tuple[float, float, int]
) -> list[dict[str, Any]]:
    def number(value: float) -> float | str:
        return float(value) if np.isfinite(value) else str(float(value))

    given_outputs = [{"shape": list(one.shape), "values": list(map(number, one.ravel()))} for one in outputs]
    confidence, iou, most = limits
    asked = {"spec": as_json(spec), "outputs": given_outputs, "placed": placed}
    answer: list[dict[str, Any]] = parts("detect", **asked, confidence=confidence, iou=iou, most=most)
    return answer


def random_outputs(rng: np.random.Generator, spec: DetectorSpec, images: int, boxes: int) -> list[Floats]:
    """Boxes in clusters, so that many overlap; some scores are equal, some a little outside 0..1."""
    names, layout = len(spec.names), spec.output_format
    if layout == "yolox":
        boxes = cells((spec.height, spec.width))
    centres = rng.uniform(0, 96, (images, boxes, 2)) // 16 * 16 + rng.normal(0, 2, (images, boxes, 2))
    sizes = rng.uniform(1, 40, (images, boxes, 2))
    corners = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=2)
    scores = np.round(rng.uniform(-0.005, 1.005, (images, boxes, names)), rng.choice([1, 5]))
    classes = rng.integers(0, names, (images, boxes, 1))
    if layout in ("yolov5", "yolox-decoded"):
        made = [np.concatenate([centres, sizes, rng.uniform(0, 1, (images, boxes, 1)), scores], axis=2)]
    elif layout == "yolox":
        raw = np.concatenate([rng.normal(0, 1, (images, boxes, 2)), rng.normal(0, 1, (images, boxes, 2))], axis=2)
        made = [np.concatenate([raw, rng.uniform(0, 1, (images, boxes, 1)), scores], axis=2)]
    elif layout == "yolov8":
        made = [np.concatenate([centres, sizes, scores], axis=2).transpose(0, 2, 1)]
    elif layout == "yolov10":
        made = [np.concatenate([corners, scores[:, :, :1], classes], axis=2)]
    elif layout.startswith("rtdetr"):
        of_input = np.concatenate([centres / (spec.width, spec.height), sizes / (spec.width, spec.height)], axis=2)
        made = [np.concatenate([of_input, *([scores[:, :, :1], classes] if layout == "rtdetr" else [scores])], axis=2)]
    elif layout == "yolov7-nms":
        number = np.broadcast_to(np.arange(images)[:, None, None], (images, boxes, 1))
        rows = np.concatenate([number, corners, classes, scores[:, :, :1]], axis=2)
        made = [rng.permutation(rows.reshape(-1, 7))]
    else:
        counts = rng.integers(0, boxes + 1, (images, 1))
        made = [counts, corners, scores[:, :, 0], classes[:, :, 0]]
    return [np.ascontiguousarray(one, np.float32) for one in made]


def assert_same(found: list[dict[str, Any]], wanted: list[Proposals]) -> None:
    for own, other in zip(found, wanted, strict=True):
        assert own["classes"] == other.classes.tolist()
        assert own["notes"] == list(other.notes)
        np.testing.assert_allclose(own["scores"], other.scores, rtol=1e-6)
        np.testing.assert_allclose(np.reshape(own["boxes"], (-1, 4)), other.boxes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(12))
def test_every_layout_gives_the_boxes_of_python(parts: Parts, layout: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = make_spec(layout, names=int(rng.integers(1, 5)))
    sizes = [(int(rng.integers(1, 300)), int(rng.integers(1, 300))) for _ in range(int(rng.integers(1, 3)))]
    outputs = random_outputs(rng, spec, len(sizes), int(rng.integers(0, 120)))
    limits = (float(rng.choice([0.0, 0.25, 0.6])), float(rng.choice([0.0, 0.45, 0.7, 1.0])), int(rng.choice([3, 300])))
    if layout != "yolox" and seed % 3 == 0 and outputs[-1].size > 20:
        boxes = outputs[1] if layout == "tensorrt-nms" else outputs[0]
        boxes.reshape(-1)[1:4] = [np.nan, np.inf, -np.inf]
    wanted = python_found(spec, outputs, sizes, limits)
    found = ask(parts, spec, outputs, [python_placed(spec, size) for size in sizes], limits)
    assert_same(found, wanted)


DAMAGED: dict[str, tuple[str, list[Any]]] = {
    "score of NaN": ("yolov8", [np.full((1, 6, 4), np.nan)]),
    "score of infinity": ("yolov10", [np.full((1, 2, 6), np.inf)]),
    "scores before the sigmoid": ("yolov5", [np.full((1, 3, 7), 4.0)]),
    "a class that there is not": ("yolov10", [[[[0, 0, 9, 9, 0.9, 2]]]]),
    "half a class": ("yolov7-nms", [[[0, 0, 0, 9, 9, 0.5, 0.9]]]),
    "a class of NaN": ("yolov10", [[[[0, 0, 9, 9, 0.9, np.nan]]]]),
    "another picture": ("yolov7-nms", [[[1, 0, 0, 9, 9, 0, 0.9]]]),
    "a picture of NaN": ("yolov7-nms", [[[np.nan, 0, 0, 9, 9, 0, 0.9]]]),
    "more boxes than room": ("tensorrt-nms", [[[3]], np.zeros((1, 2, 4)), np.zeros((1, 2)), np.zeros((1, 2))]),
    "boxes fewer than none": ("tensorrt-nms", [[[-1]], np.zeros((1, 2, 4)), np.zeros((1, 2)), np.zeros((1, 2))]),
    "a number of NaN": ("tensorrt-nms", [[[np.nan]], np.zeros((1, 2, 4)), np.zeros((1, 2)), np.zeros((1, 2))]),
    "boxes as shares of the input": ("yolov10", [[[[0.1, 0.2, 0.7, 0.9, 0.9, 1], [0, 0, 0, 0, 0, 0]]]]),
    "another grid": ("yolox", [np.zeros((1, 3, 7))]),
    "another rank": ("yolov8", [np.zeros((6, 4))]),
    "another number of classes": ("yolov8", [np.zeros((1, 7, 4))]),
    "another number of pictures": ("yolov8", [np.zeros((2, 6, 4))]),
    "three outputs": ("tensorrt-nms", [np.zeros((1, 1)), np.zeros((1, 2, 4)), np.zeros((1, 2))]),
    "other scores": ("tensorrt-nms", [np.zeros((1, 1)), np.zeros((1, 2, 4)), np.zeros((1, 3)), np.zeros((1, 2))]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_outputs_are_refused_as_in_python(parts: Parts, name: str) -> None:
    layout, values = DAMAGED[name]
    spec, outputs = make_spec(layout, names=2), [np.asarray(one, np.float32) for one in values]
    limits = (0.25, 0.7, 300)
    with pytest.raises(DetectorError) as wanted:
        python_found(spec, outputs, [(96, 64)], limits)
    with pytest.raises(PartsError) as found:
        ask(parts, spec, outputs, [python_placed(spec, (96, 64))], limits)
    assert found.value.kind == "DetectorError"
    assert str(found.value)[:24] == str(wanted.value)[:24]


def test_values_that_do_not_fill_their_shape_are_refused(parts: Parts) -> None:
    outputs = [{"shape": shape, "values": [0.0] * 6} for shape in ([1, 6, 1 << 62], [1, 6, -1], [1, 6, 2])]
    for output in outputs:
        with pytest.raises(PartsError, match="which the layout yolov8 with 2 classes does not have"):
            asked = {"spec": as_json(make_spec("yolov8", 2)), "outputs": [output], "placed": [[1, 1, 0, 0, 9, 9]]}
            parts("detect", **asked, confidence=0.25, iou=0.7, most=300)


@settings(max_examples=60)
@given(st.data())
def test_pictures_are_fitted_as_in_python(parts: Parts, tmp_path_factory: Any, data: st.DataObject) -> None:
    raw: Path = tmp_path_factory.getbasetemp() / "letterbox"
    order = data.draw(st.sampled_from(["rgb", "bgr", "rgba", "gray"]))
    channels = {"gray": 1, "rgba": 4}.get(order, 3)
    width, height = data.draw(st.integers(1, 120)), data.draw(st.integers(1, 120))
    pixels = random_pixels(data.draw(st.integers(0, 99)), height, width, channels)
    size = (data.draw(st.integers(32, 100)), data.draw(st.integers(32, 100)))
    spec = make_spec(data.draw(st.sampled_from(["yolov8", "yolox"])), 1, size, data.draw(st.sampled_from(LETTERBOXES)))
    answer = parts("letterbox", **given_image(raw, pixels, order), spec=as_json(spec))
    canvas, placed = letterbox(np.asarray(as_pillow(pixels, order)), size, place=spec.letterbox)
    if spec.channel_order == "bgr":
        canvas = canvas[..., ::-1]
    wanted = canvas.transpose(2, 0, 1).astype(np.float32) / np.float32(255 / spec.input_scale)
    assert Placed(*answer["placed"]) == placed
    assert np.array_equal(np.array(answer["values"], np.float32).reshape(wanted.shape), wanted)


NAMES = [
    *COCO_NAMES,
    "Monitor/TV",
    "mouse_(computer_equipment)",
    "tv_(a_(b))",
    "Hot-Dog",
    "Straße",
    "ÉCOLE",
    "犬",
    "wolves",
    "()",
]
ASKED = [
    *(word for words in _SYNONYMS for word in words),
    "people",
    "Buses",
    "diningtable",
    "Dining  Tables",
    "tv",
    "DOGS",
]
ASKED += [
    "policemen",
    "specimen",
    "knives",
    "berries",
    "boxes",
    "glasses",
    "glass",
    "ss",
    "s",
    "STRASSE",
    "école",
    "écoles",
]
ASKED += [
    "potted-plants",
    "wolf",
    "children's toy",
    "mice",
    "unicorn",
    "a/b",
    "(tv)",
    "犬",
    "\u1e9e",
    "ﬁsh",
    "hot dogs",
]


def same_matches(parts: Parts, words: list[str], names: list[str]) -> None:
    found = parts("match", words=words, names=names)
    for own, wanted in zip(found, match_words(words, names, class_agnostic=False), strict=True):
        assert (own["how"], own["classes"]) == (wanted.how, list(wanted.classes)), ascii(wanted.word)


def test_words_mean_the_classes_of_python(parts: Parts) -> None:
    same_matches(parts, ASKED, NAMES)
    same_matches(parts, NAMES, ASKED)


@settings(max_examples=100)
@given(st.data())
def test_any_words_mean_the_classes_of_python(parts: Parts, data: st.DataObject) -> None:
    piece = st.sampled_from(
        [*ASKED, "s", "es", "ies", "men", "-", "_", " ", "/", "(", ")", *string.ascii_letters[:6], "ß", "É"]
    )
    text = st.lists(piece, min_size=1, max_size=3).map("".join)
    same_matches(parts, data.draw(st.lists(text, max_size=6)), data.draw(st.lists(text, max_size=6)))


def test_what_no_rule_finds_is_the_nearest_in_features(parts: Parts) -> None:
    rng = np.random.default_rng(0)
    names, words = ["cat", "Big_Dog", "fish"], ["hound", "dogs", "cats", "rock"]
    features = rng.normal(size=(8, 5)).astype(np.float32)
    known = dict(
        zip(
            ["cat", "big dog", "fish", *words], features / np.linalg.norm(features, axis=1, keepdims=True), strict=False
        )
    )
    known["hound"] = known["big dog"]
    for threshold in (-1.0, 0.3, 0.94, 1.0):
        found = parts(
            "match", words=words, names=names, threshold=threshold, features={k: v.tolist() for k, v in known.items()}
        )
        wanted = match_words(words, names, lambda texts: np.stack([known[one] for one in texts]), threshold=threshold)
        for own, other in zip(found, wanted, strict=True):
            if threshold < 1 or other.word != "hound":  # a cosine of 1 is rounded
                assert (own["how"], own["classes"]) == (other.how, list(other.classes))
            assert own["similarity"] == (
                None if other.similarity is None else pytest.approx(other.similarity, abs=1e-6)
            )


@pytest.mark.parametrize("features", [{"a": [], "b": []}, {"a": [1.0], "b": [1.0, 2.0]}])
def test_features_of_another_size_are_refused(parts: Parts, features: dict[str, Any]) -> None:
    with pytest.raises(PartsError, match=r"encode (must give|gave)") as caught:
        parts("match", words=["a"], names=["b"], features=features)
    assert caught.value.kind == "OptionError"


@pytest.mark.parametrize("names", [["thing"], ["Things"], ["object"], ["OBJECTS "], ["dog"], ["thing", "thing"], []])
def test_a_detector_of_things_knows_no_classes(parts: Parts, names: list[str]) -> None:
    assert parts("is_class_agnostic", names=names) == is_class_agnostic(names)
