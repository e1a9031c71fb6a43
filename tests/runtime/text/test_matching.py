"""From words to classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.detectors import COCO_NAMES
from clsclip_runtime.errors import OptionError
from clsclip_runtime.text import matching
from clsclip_runtime.text.matching import NEAREST, is_class_agnostic, match_words, same_class
from tests.shared_data import shared_data

# fmt: off
VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
OF_VOC = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)
# fmt: on


def one(word: str, names: Sequence[str] = COCO_NAMES) -> tuple[str, tuple[str, ...]]:
    [match] = match_words([word], names)
    assert match.word == word
    assert match.similarity is None
    assert tuple(names[at] for at in match.classes) == match.names
    return match.how, match.names


def test_vocs_classes_are_cocos() -> None:
    for word, name in zip(VOC, OF_VOC, strict=True):
        assert one(word)[1] == (name,)
        assert one(name, VOC)[1] == (word,)


@pytest.mark.parametrize(
    ("word", "how", "name"),
    [
        ("dog", "exact", "dog"),
        (" Dining  TABLE ", "exact", "dining table"),
        ("diningtable", "exact", "dining table"),
        ("hot-dog", "exact", "hot dog"),
        ("dogs", "plural", "dog"),
        ("buses", "plural", "bus"),
        ("knives", "plural", "knife"),
        ("people", "plural", "person"),
        ("persons", "plural", "person"),
        ("mice", "plural", "mouse"),
        ("benches", "plural", "bench"),
        ("toothbrushes", "plural", "toothbrush"),
        ("dining tables", "plural", "dining table"),
        ("wineglasses", "plural", "wine glass"),
        ("sandwiches", "plural", "sandwich"),
        ("ski", "plural", "skis"),
        ("aeroplane", "synonym", "airplane"),
        ("plane", "synonym", "airplane"),
        ("aeroplanes", "synonym", "airplane"),
        ("sofa", "synonym", "couch"),
        ("television", "synonym", "tv"),
        ("tv monitor", "synonym", "tv"),
        ("TVs", "plural", "tv"),
        ("mobile phones", "synonym", "cell phone"),
        ("hairdryer", "synonym", "hair drier"),
        ("lorries", "synonym", "truck"),
    ],
)
def test_words_that_are_known(word: str, how: str, name: str) -> None:
    assert one(word) == (how, (name,))


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("bus", "buses"), ("glass", "glasses"), ("box", "boxes"), ("church", "churches"), ("dish", "dishes"),
        ("knife", "knives"), ("leaf", "leaves"), ("wolf", "wolves"), ("glove", "gloves"), ("olive", "olives"),
        ("berry", "berries"), ("movie", "movies"), ("toy", "toys"), ("tomato", "tomatoes"), ("photo", "photos"),
        ("horse", "horses"), ("shoe", "shoes"), ("taxi", "taxis"), ("person", "people"), ("child", "children"),
        ("man", "men"), ("woman", "women"), ("fireman", "firemen"), ("mouse", "mice"), ("goose", "geese"),
        ("foot", "feet"), ("tooth", "teeth"), ("cactus", "cacti"), ("cell phone", "cell phones"), ("house", "houses"),
    ],
)  # fmt: skip
def test_plurals_both_ways(singular: str, plural: str) -> None:
    assert one(plural, [singular]) == ("plural", (singular,))
    assert one(singular, [plural]) == ("plural", (plural,))


@pytest.mark.parametrize(
    ("one_word", "other"),
    [
        ("bus", "train"), ("plant", "potted plant"), ("bear", "teddy bear"), ("glass", "glove"), ("dog", "hot dog"),
        ("car", "cars park"), ("new", "ness"), ("as", "a"), ("woman", "man"), ("table", "dining table"), ("s", "ss"),
    ],
)  # fmt: skip
def test_other_things_are_not_the_same(one_word: str, other: str) -> None:
    assert not same_class(one_word, other)
    assert not same_class(other, one_word)


def test_the_first_rule_decides() -> None:
    assert one("couch", ["sofa", "couches", "Couch"]) == ("exact", ("Couch",))
    assert one("couch", ["sofa", "couches"]) == ("plural", ("couches",))
    assert one("couch", ["sofa", "settee", "bed"]) == ("synonym", ("sofa", "settee"))
    assert one("couch", ["bed"]) == ("none", ())
    assert one("couch", []) == ("none", ())


def test_names_as_other_data_sets_write_them() -> None:
    assert one("tv", ["Monitor/TV"]) == ("exact", ("Monitor/TV",))
    assert one("mouse", ["mouse_(animal)", "mouse_(computer_equipment)"])[1] == (
        "mouse_(animal)",
        "mouse_(computer_equipment)",
    )
    assert one("traffic light", ["traffic_light"]) == ("exact", ("traffic_light",))


def test_detectors_that_know_no_classes() -> None:
    assert is_class_agnostic(["Object"])
    assert is_class_agnostic(["things"])
    assert not is_class_agnostic(["bus"])
    assert not is_class_agnostic(["object", "thing"])
    for match in match_words(["dog", "bus"], ["thing"]):
        assert (match.how, match.classes, match.names) == ("any", (0,), ("thing",))
    assert match_words(["dog"], ["a", "b"], class_agnostic=True)[0].classes == (0, 1)
    assert match_words(["dog"], ["thing"], class_agnostic=False)[0].how == "none"


class Encoder:
    """Words on a circle, by their angle in degrees."""

    def __init__(self, **angles: float) -> None:
        self.angles = angles
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        self.calls.append(tuple(words))
        angles = np.radians([self.angles[word] for word in words])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_nearest_feature() -> None:
    encode = Encoder(puppy=10, dog=0, cat=90, moon=200, exactly=5)
    puppy, moon, cat = match_words(["puppy", "moon", "cat"], ["Dog", "cat"], encode=encode)
    assert (puppy.how, puppy.classes, puppy.names) == ("nearest", (0,), ("Dog",))
    assert puppy.similarity == pytest.approx(np.cos(np.radians(10)))
    assert (moon.how, moon.classes) == ("none", ())
    assert moon.similarity == pytest.approx(np.cos(np.radians(110)), abs=1e-6)
    assert (cat.how, cat.similarity) == ("exact", None)
    assert encode.calls == [("dog", "cat"), ("puppy", "moon")]
    [strict] = match_words(["puppy"], ["dog"], encode=encode, threshold=0.999)
    assert strict.how == "none"


def test_features_are_asked_only_where_needed() -> None:
    encode = Encoder()
    match_words(["dog", "sofas"], ["dog", "couch"], encode=encode)
    match_words(["dog"], ["thing"], encode=encode)
    match_words([], ["thing"], encode=encode)
    match_words(["dog"], [], encode=encode)
    assert encode.calls == []


def test_bad_features() -> None:
    for wrong in (np.zeros(3), np.zeros((3, 2)), np.zeros((1, 2, 2))):
        with pytest.raises(OptionError, match="one row of features"):
            match_words(["moon"], ["dog"], encode=lambda words, wrong=wrong: wrong)  # type: ignore[misc]
    for threshold in (2, float("nan")):
        with pytest.raises(OptionError, match="threshold"):
            match_words(["moon"], ["dog"], threshold=threshold)


@given(st.lists(st.text(max_size=12), max_size=4), st.lists(st.text(min_size=1, max_size=12), max_size=4))
def test_any_words(words: list[str], names: list[str]) -> None:
    for word, match in zip(words, match_words(words, names), strict=True):
        assert match.word == word
        assert (match.how == "none") == (not match.classes)
    for name in names:
        if name.strip("_- \t\n") == name and name.isascii() and name.isalnum():
            assert match_words([name.upper()], names, class_agnostic=False)[0].how == "exact"


def test_the_threshold_on_real_features() -> None:
    """On CLIP's own features no two things of COCO are taken for each other, and VOC's words find theirs."""

    def features(name: str) -> np.ndarray:
        found = np.load(shared_data("clip_text", name)).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    coco, voc = features("coco_single.npy")[:80], features("voc12_single.npy")
    others = coco @ coco.T - 2 * np.eye(80, dtype=np.float32)
    assert others.max() < NEAREST
    table = {
        **dict(zip(COCO_NAMES, coco, strict=True)),
        **{f"voc {name}": row for name, row in zip(VOC, voc, strict=True)},
    }
    asked = [f"voc {name}" for name in VOC]
    matches = match_words(asked, COCO_NAMES, encode=lambda words: np.stack([table[word] for word in words]))
    found = {match.word.removeprefix("voc "): match.names for match in matches if match.how == "nearest"}
    assert found.pop("aeroplane") == ("airplane",)
    assert found["sofa"] == ("couch",)
    assert set(VOC) - set(found) == {"aeroplane", "tvmonitor"}


def test_class_names_that_cannot_be_encoded_are_left_out() -> None:
    encode = Encoder(puppy=10, dog=0, cat=90, moon=30)
    known = {"dog", "cat"}
    puppy, moon = match_words(["puppy", "moon"], ["pup", "Dog", "cat"], encode=encode, knows=known.__contains__)
    assert (puppy.how, puppy.classes, puppy.names) == ("nearest", (1,), ("Dog",))
    assert (moon.how, moon.classes) == ("none", ())
    assert encode.calls == [("dog", "cat"), ("puppy", "moon")]
    [alone] = match_words(["puppy"], ["pup"], encode=encode, knows=known.__contains__)
    assert (alone.how, alone.similarity) == ("none", None)
    assert len(encode.calls) == 2


def test_the_tables_are_plain_and_unambiguous() -> None:
    """Every word stands for one thing, in the spelling that words are compared in."""
    tables = json.loads(Path(matching.__file__).with_name("synonyms.json").read_text("utf-8"))
    assert set(tables) == {"synonyms", "irregular_plurals", "class_agnostic"}
    listed = [word for words in tables["synonyms"] for word in words]
    assert len(listed) == len(set(listed)) > 60
    every = [*listed, *tables["irregular_plurals"], *tables["irregular_plurals"].values(), *tables["class_agnostic"]]
    assert all(word == " ".join(word.casefold().replace("-", " ").split()) for word in every)
    for plural, singular in tables["irregular_plurals"].items():
        assert one(plural, [singular]) == ("plural", (singular,))
