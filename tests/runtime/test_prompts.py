"""A class with several prompts: the union of what they find alone, and one of everything that comes out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clsclip_runtime import OptionError, Segmenter
from clsclip_runtime.cli.infer import main
from clsclip_runtime.regions import Proposals, ZoomIn
from clsclip_runtime.results.overlay import colors
from tests.runtime.reading import presence_of, statuses

StickerImage = npt.NDArray[np.uint8]
PROMPTS = ["red", "green", "blue"]
CLASSES = {"thing": PROMPTS, "yellow": "yellow"}
BOXES = np.array([[0, 0, 24, 18], [4, 16, 20, 32], [0, 0, 32, 32]], np.float32)
NAMED = Proposals.from_boxes(BOXES, ["red", "green", None])

WAYS = {
    "whole": {},
    "every class": {"presence_filter": False},
    "a threshold": {"presence_threshold": 0.5},
    "boxes of no name": {"regions": BOXES},
    "named boxes": {"regions": NAMED},
    "no fallback": {"regions": NAMED, "zoom_in": ZoomIn(fallback="none")},
    "boxes as masks": {"regions": NAMED, "zoom_in": ZoomIn(boxes_as_masks=True)},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_union_of_three_calls(way: dict[str, object], segmenter: Segmenter, scene: StickerImage) -> None:
    alone = [segmenter(scene, [word], **way)[0] for word in PROMPTS]  # type: ignore[arg-type]
    result = segmenter(scene, CLASSES, **way)  # type: ignore[arg-type]
    together = result["thing"]
    assert (together.mask == np.logical_or.reduce([one.mask for one in alone])).all()
    known = [one.presence for one in alone if one.presence is not None]
    assert together.presence == (max(known) if known else None)
    assert together.prompts == tuple(PROMPTS) and result["yellow"].prompts == ("yellow",)
    assert set(together.searched) == {place for one in alone for place in one.searched}
    batched = segmenter.batch([scene, scene], [CLASSES, {"other": PROMPTS[::-1]}], **_of_batch(way))  # type: ignore[arg-type]
    assert all((one[0].mask == together.mask).all() for one in batched)


def _of_batch(way: dict[str, object]) -> dict[str, object]:
    return way | ({"regions": [way["regions"]] * 2} if "regions" in way else {})


def test_predict_takes_them_too(segmenter: Segmenter, scene: StickerImage) -> None:
    segmenter.set_image(scene)
    assert (segmenter.predict(CLASSES).masks == segmenter(scene, CLASSES).masks).all()


def test_one_of_everything(segmenter: Segmenter, photo: Path, tmp_path: Path) -> None:
    result = segmenter(photo, CLASSES, presence_filter=False)
    assert result.classes == ("thing", "yellow")
    assert len(result.pairs) == 4
    assert [one.name for one in result.all_instances()] == ["thing", "yellow"]
    (instance,) = result.instances
    assert instance.rle().area == result["thing"].area and (instance.mask == result["thing"].mask).all()
    document = result.to_json()
    assert [one["name"] for one in document["classes"]] == ["thing", "yellow"]
    assert document["classes"][0]["prompts"] == PROMPTS
    assert [one["class"] for one in document["instances"]] == ["thing", "yellow"]
    assert (result.labels() == result["thing"].mask).all()
    assert result.logits.shape == (2, 8, 8)
    assert ((result.logits[0] > 0) == (result.pairs.logits[:3] > 0).any(axis=0)).all()
    files = {path.name: path for path in result.save(tmp_path, ["png", "overlay", "labels", "coco", "npz"])}
    assert set(files) == {
        *(
            "photo_thing.png",
            "photo_yellow.png",
            "photo_overlay.png",
            "photo_labels.png",
            "photo_coco.json",
            "photo.npz",
        ),
    }
    coco = json.loads(files["photo_coco.json"].read_text("utf-8"))
    assert [one["name"] for one in coco["categories"]] == ["thing", "yellow"]
    assert [one["category_id"] for one in coco["annotations"]] == [1]
    assert coco["annotations"][0]["area"] == result["thing"].area
    with np.load(files["photo.npz"]) as arrays:
        assert arrays["classes"].tolist() == ["thing", "yellow"]
        assert arrays["masks"].shape == (2, 32, 32)
        assert arrays["prompts"].tolist() == [*PROMPTS, "yellow"]
        assert arrays["prompts"][arrays["pair_prompt"]].tolist() == [*PROMPTS, "yellow"]
    with Image.open(files["photo_overlay.png"]) as overlay:
        drawn = set(map(tuple, np.asarray(overlay.convert("RGB")).reshape(-1, 3).tolist()))
    own, _, *others = (tuple(color) for color in colors(4).tolist())
    assert own in drawn and not drawn & set(others)
    supervision = pytest.importorskip("supervision")
    detections = result.to_supervision()
    assert isinstance(detections, supervision.Detections) and detections.class_id.tolist() == [0]


def test_max_classes_counts_classes(segmenter: Segmenter, scene: StickerImage) -> None:
    classes = {"thing": ["red", "green"], "white": "white", "blue": "blue"}
    result = segmenter(scene, classes, max_classes=1, presence_threshold=0.0)
    assert list(statuses(result)) == ["found", "filtered", "filtered"]
    assert (result["thing"].mask == segmenter(scene, {"thing": ["red", "green"]}, presence_threshold=0.0)[0].mask).all()


def test_a_box_named_as_the_class_is_asked_for_all_prompts(segmenter: Segmenter, scene: StickerImage) -> None:
    result = segmenter(scene, {"paint": ["red", "green"]}, regions=Proposals.from_boxes(BOXES[2:], ["paint"]))
    match = result["paint"].match
    assert match is not None and (match.how, match.names) == ("exact", ("paint",))
    assert result["paint"].searched == ("regions",)
    assert len(result.instances) == 1 and result.instances[0].region_name == "paint"


def test_classes_may_share_a_prompt(segmenter: Segmenter, scene: StickerImage) -> None:
    result = segmenter(scene, {"one": ["red", "green"], "two": ["green"], "three": "red"}, max_classes=2)
    alone = segmenter(scene, ["red", "green"])
    assert (result["one"].mask == alone.masks.any(axis=0)).all()
    assert presence_of(result)[0] == max(presence_of(alone))
    boxes = Proposals.from_boxes(BOXES[:2], ["one", "two"])
    split = segmenter(
        scene, {"one": ["red", "green"], "two": ["green"]}, regions=boxes, zoom_in=ZoomIn(fallback="none")
    )
    assert [one.region_name for one in split.all_instances()] == ["one", "two"]


def test_a_word_is_found_as_it_was_typed(segmenter: Segmenter, scene: StickerImage) -> None:
    result = segmenter(scene, ["dining_table", "red"])
    assert result["dining_table"].name == "dining table" == result["dining table"].name
    assert result.notes == ["'dining_table' was read as 'dining table' (underscore)"]
    with pytest.raises(OptionError, match="was not asked"):
        result["table"]


@pytest.mark.usefixtures("embedded_tiny")
def test_the_command(photo: Path, capsys: pytest.CaptureFixture[str], segmenter: Segmenter) -> None:
    assert main([str(photo), "--classes", "thing = red | green | blue", "white", "--json"]) == 0
    (first, second) = json.loads(capsys.readouterr().out)["classes"]
    assert (first["name"], second["name"]) == ("thing", "white")
    assert first["area"] == segmenter(photo, CLASSES)["thing"].area
    words = photo.with_name("words.txt")
    words.write_text("thing = red | green\n", "utf-8")
    assert main([str(photo), "--classes-file", str(words), "--out", "out"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "thing" in line and "found" in line]
    assert len(lines) == 1
    assert sorted(path.name for path in Path("out").iterdir() if not path.name.startswith(".")) == [
        "photo_overlay.png",
        "photo_thing.png",
    ]
    assert main([str(photo), "--classes", "red,green", "--json"]) == 0
    assert "has a comma and was read as 2 classes: red, green" in json.loads(capsys.readouterr().out)["notes"][0]
