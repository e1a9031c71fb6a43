from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime import OptionError, Proposals, RegionError, RegionFile

UNKNOWN = {"image_id": 1, "category_id": 7}


def written(folder: Path, document: Any) -> Path:
    path = folder / "boxes.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path


def test_a_plain_list(tmp_path: Path) -> None:
    entries = [
        {"image": "a.jpg", "class": "dog", "bbox": [1, 2, 30, 40], "score": 0.5},
        {"image": "a.jpg", "bbox": [0, 0, 5, 5]},
        {"image": "b.jpg", "class": "cat", "bbox": [1, 1, 1, 1]},
        {"class": "sky", "bbox": [0, 0, 9, 1]},
    ]
    file = RegionFile(written(tmp_path, entries))
    assert len(file) == 4
    found = file.of("some/folder/a.jpg")
    assert found.boxes.tolist() == [[1, 2, 31, 42], [0, 0, 5, 5], [0, 0, 9, 1]]
    assert [None if one < 0 else found.names[one] for one in found.classes] == ["dog", None, "sky"]
    assert found.scores.tolist() == [0.5, 1, 1]
    assert found.source == "boxes of boxes.json"
    assert len(file.of("c.png")) == 1


def test_pictures_are_found_by_any_of_their_names(tmp_path: Path) -> None:
    entries = [
        {"image": "train/one.jpg", "bbox": [0, 0, 1, 1]},
        {"image": "two", "bbox": [0, 0, 2, 2]},
        {"image": "left/three.jpg", "bbox": [0, 0, 3, 3]},
        {"image": "right/three.jpg", "bbox": [0, 0, 4, 4]},
    ]
    file = RegionFile(written(tmp_path, entries))
    for name in ("train/one.jpg", "./train/one.jpg", "/data/train/one.jpg", "one.jpg", "one"):
        assert file.of(name).boxes.tolist() == [[0, 0, 1, 1]], name
    assert file.of("folder/two.png").boxes.tolist() == [[0, 0, 2, 2]]
    assert file.of("right/three.jpg").boxes.tolist() == [[0, 0, 4, 4]]
    with pytest.raises(RegionError, match="several pictures that may be"):
        file.of("three.jpg")


def test_a_picture_without_boxes_has_a_note(tmp_path: Path) -> None:
    file = RegionFile(written(tmp_path, [{"image": "phtoo.png", "bbox": [0, 0, 1, 1]}]))
    assert file.of("photo.png").notes == ("boxes.json has no box of photo.png; it names phtoo.png",)
    assert RegionFile(written(tmp_path, [])).of("photo.png").notes == ()


def test_data_sets_keys_find_their_boxes(tmp_path: Path) -> None:
    """Data sets name pictures without suffix, COCO documents with it."""
    document = {
        "images": [{"id": 34, "file_name": "000000000034.jpg"}, {"id": 7, "file_name": "2007_000033.jpg"}],
        "annotations": [
            {"image_id": 34, "category_id": 1, "bbox": [0, 0, 5, 5]},
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9]},
        ],
        "categories": [{"id": 1, "name": "zebra"}],
    }
    file = RegionFile(written(tmp_path, document))
    assert file.of("000000000034").boxes.tolist() == [[0, 0, 5, 5]]
    assert file.of("2007_000033").boxes.tolist() == [[0, 0, 9, 9]]


def test_far_boxes_are_cut_and_infinite_ones_dropped(tmp_path: Path) -> None:
    assert np.isfinite(RegionFile(written(tmp_path, [{"bbox": [0, 0, 1e39, 1e308]}])).of("a").boxes).all()
    assert np.isinf(Proposals.from_boxes([[0, 0, np.inf, 1]]).boxes).any()


def test_a_coco_document(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 139, "file_name": "000000000139.jpg"}],
        "annotations": [{"image_id": 139, "category_id": 3, "bbox": [10, 20, 5, 5], "id": 1}],
        "categories": [{"id": 3, "name": "tv"}],
    }
    found = RegionFile(written(tmp_path, document)).of("val/000000000139.jpg")
    assert found.boxes.tolist() == [[10, 20, 15, 25]]
    assert found.names == ("tv",)


def test_coco_results_name_pictures_by_number(tmp_path: Path) -> None:
    file = RegionFile(written(tmp_path, [{"image_id": 139, "bbox": [0, 0, 2, 2]}]))
    assert len(file.of("000000000139.jpg")) == 1
    assert len(file.of("000000001390.jpg")) == 0


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("3", "must hold a list"),
        ({"images": []}, "not a COCO document: it has no 'categories'"),
        ({"boxes": []}, "not a COCO document: it has no 'images'"),
        (
            {"images": 1, "annotations": [], "categories": []},
            "not a COCO document: a list or an entry is something else",
        ),
        ([{"bbox": [1, 2, 3]}], "entry 0: bbox must be four"),
        ([{"image": "a"}], "entry 0: no 'bbox'"),
        ([{"bbox": [0, 0, 1, 1]}, {"bbox": [0, 0, 1e999, 1]}], "Infinity is no JSON number"),
        ([{"bbox": [0, 0, 1, 1], "class": 3}], "class must be a text"),
        ([{"bbox": [0, 0, 1, 1], "image": ["a"]}], "image must be a name"),
        ([{"bbox": [0, 0, 1, 1], "image": 5}], "image must be a name"),
        ([{"bbox": [0, 0, 1, 1], "score": 2}], "score must be from 0 to 1"),
        ([{"bbox": "1234"}], "bbox must be four"),
        ([{"bbox": [0, 0, 1, True]}], "bbox must be four"),
        ([{"bbox": [0, 0, 1, 1], "score": True}], "score must be"),
        ([{"bbox": [0, 0, 1, 1], "image_id": 1, "category_id": 3}], "category_id needs the categories"),
        (
            {
                "images": [{"id": 1, "file_name": "a"}],
                "annotations": [{"image_id": 1, "category_id": 7}],
                "categories": [],
            },
            "annotation 0: category_id 7 is not among",
        ),
        ([[1, 2, 3, 4]], "entry 0: it is a list, and a box needs its name bbox"),
        ([None], "entry 0: it is a NoneType"),
    ],
)
def test_wrong_files_are_told(tmp_path: Path, document: Any, told: str) -> None:
    with pytest.raises(RegionError, match=told):
        RegionFile(written(tmp_path, document))


def test_what_is_no_file_of_boxes_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(RegionError, match=r"pipe\.json: it is no regular file"):
        RegionFile(tmp_path / "pipe.json")
    with pytest.raises(RegionError, match="more than 4,194,304 values"):
        RegionFile(written(tmp_path, "[" + "{}," * (1 << 22) + "{}]"))
    with pytest.raises(RegionError, match="at most 134,217,728 are read"), (tmp_path / "long.json").open("wb") as file:
        file.truncate((1 << 27) + 1)
        RegionFile(tmp_path / "long.json")


def test_absent_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match="no such file of regions"):
        RegionFile(tmp_path / "none.json")
    with pytest.raises(RegionError, match="cannot read"):
        RegionFile(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["image", "class", "bbox", "score", "images", "annotations"]), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    path = written(tmp_path_factory.mktemp("any"), document)
    try:
        file = RegionFile(path)
    except RegionError as error:
        assert str(path) in str(error)
    else:
        assert file.of("a").boxes.shape[1] == 4


def test_own_boxes() -> None:
    found = Proposals.from_boxes([[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]], ["dog", None, "dog"], [0.5, 0.25, 1])
    assert found.names == ("dog",)
    assert found.classes.tolist() == [0, -1, 0]
    assert len(Proposals.from_boxes([])) == 0
    assert Proposals.from_boxes([[0, 0, 1, 1]], ["object"]).classes.tolist() == [-1], "an object may be anything"
    assert Proposals.from_boxes(np.zeros((0, 4))).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([1, 2, 3, 4],), "boxes \\(N, 4\\)"),
        (([[1, 2, 3]],), "boxes \\(N, 4\\)"),
        (("boxes",), "must be numbers"),
        (([[0, 0, 1, 1]], ["a", "b"]), "1 boxes need 1 names"),
        (([[0, 0, 1, 1]], [3]), "names of regions must be texts"),
        (([[0, 0, 1, 1]], None, [1.5]), "scores of regions must be"),
        (([[0, 0, 1, 1]], None, [float("nan")]), "scores of regions must be"),
    ],
)
def test_wrong_boxes_are_told(arguments: tuple[Any, ...], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Proposals.from_boxes(*arguments)
