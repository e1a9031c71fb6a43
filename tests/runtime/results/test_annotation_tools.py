"""What is written for annotation tools is read by their own packages, and gives equal masks."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from clsclip_runtime import Result, Segmenter
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.cvat import encode_cvat
from clsclip_runtime.results.labelme import labelme_file
from clsclip_runtime.results.yolo import data_yaml, lines_of_mask
from tests.runtime.tiny_bundle import paint

PYTHON = "CLSCLIP_ANNOTATION_TOOLS"
"""Environment variable: a Python that has label_studio_sdk, labelme and cvat-sdk; together they take 1 GB."""

NAMES = ["red", "dining table"]
SIZE = (130, 97)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def scene() -> npt.NDArray[np.uint8]:
    """130 x 97 pixels: a red ring, in it a red spot, two more, and a bar of another color."""
    patches = {"red": (slice(0, 5), slice(0, 5)), "blue": (slice(6, 8), slice(4, 8))}
    image = paint(patches)
    image[4:16, 4:16] = 160
    image[8:12, 8:12] = image[24:28, 0:4] = image[0:4, 28:32] = (255, 0, 0)
    return np.asarray(Image.fromarray(image).resize(SIZE, Image.Resampling.NEAREST))


@pytest.fixture(scope="module")
def written(segmenter: Segmenter, scene: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``annotation_tools.py`` reads it."""
    folder = tmp_path_factory.mktemp("tools")
    Image.fromarray(scene).save(folder / "scene.png")
    result = found_in(segmenter, folder)
    masks = result.masks
    assert masks.any(axis=(1, 2)).all()
    contours, levels = cv2.findContours(masks[0].astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    assert len(contours) > 3 and (levels[0, :, 3] >= 0).any(), "the masks have parts and holes"
    np.save(folder / "wanted.npy", masks)
    (folder / "names.json").write_text(json.dumps(NAMES))
    formats = ["coco", "labelstudio", "yolo", "labelme"]
    result.save(folder, formats, "brush")
    result.save(folder, formats, "polygons", polygons=True)
    result.save(folder, formats, "scene")
    (folder / "cvat.json").write_text(json.dumps([encode_cvat(result.rle(at)) for at in range(2)]))
    return folder


def found_in(segmenter: Segmenter, folder: Path) -> Result:
    classes = {"red": "red", "dining table": "blue"}
    return segmenter(folder / "scene.png", classes, presence_threshold=0)


def of_coco(path: Path) -> tuple[npt.NDArray[np.bool_], COCO]:
    coco = COCO(str(path))
    masks = np.zeros((2, *SIZE[::-1]), bool)
    for one in coco.loadAnns(coco.getAnnIds()):
        masks[one["category_id"] - 1] |= coco.annToMask(one) > 0
        assert coco.annToMask(one).sum() == one["area"]
    return masks, coco


def test_pycocotools(written: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    wanted = np.load(written / "wanted.npy")
    for name in ("brush", "polygons"):
        masks, _ = of_coco(written / f"{name}_coco.json")
        np.testing.assert_array_equal(masks, wanted)
    assert isinstance(json.loads((written / "polygons_coco.json").read_text())["annotations"][0]["segmentation"], list)
    result = found_in(segmenter, written)
    for polygons in (False, True):
        (path,) = result.save(tmp_path, "coco", parts=True, polygons=polygons)
        masks, coco = of_coco(path)
        np.testing.assert_array_equal(masks, wanted)
        boxes = [one["bbox"] for one in coco.loadAnns(coco.getAnnIds())]
        assert boxes == [one.rle().box for one in result.parts]
        assert len(boxes) > len(result.instances)


def test_ultralytics(written: Path, tmp_path: Path) -> None:
    from ultralytics.data.utils import polygon2mask, verify_image_label

    wanted = np.load(written / "wanted.npy")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    image, label = tmp_path / "images" / "scene.png", tmp_path / "labels" / "scene.txt"
    image.write_bytes((written / "scene.png").read_bytes())
    label.write_bytes((written / "scene.txt").read_bytes())
    read = verify_image_label((str(image), str(label), "", False, 2, 0, 0, False))
    assert (read[6], read[8]) == (1, 0), read[9]  # found, and not corrupt
    classes, segments = read[1][:, 0].astype(int), read[3]
    masks = np.zeros_like(wanted)
    for of_class, points in zip(classes, segments, strict=True):
        masks[of_class] |= polygon2mask(SIZE[::-1], [(points * SIZE).reshape(-1)], downsample_ratio=1) > 0
    np.testing.assert_array_equal(masks, wanted)


@pytest.mark.parametrize("wide", [1, 2, 3])
def test_specks_are_polygons_too(wide: int, tmp_path: Path) -> None:
    """A pixel has one corner to write, and a row two; readers want three points."""
    from ultralytics.data.utils import polygon2mask, verify_image_label

    mask = np.zeros(SIZE[::-1], bool)
    mask[7, 5 : 5 + wide] = True
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    image, label = tmp_path / "images" / "x.png", tmp_path / "labels" / "x.txt"
    Image.new("RGB", SIZE).save(image)
    label.write_text(lines_of_mask(1, RleMask.from_mask(mask)))
    read = verify_image_label((str(image), str(label), "", False, 2, 0, 0, False))
    assert (read[6], read[8]) == (1, 0), read[9]
    (points,) = read[3]
    drawn = polygon2mask(SIZE[::-1], [(points * SIZE).reshape(-1)], downsample_ratio=1)
    np.testing.assert_array_equal(drawn > 0, mask)
    (shape,) = labelme_file([("red", RleMask.from_mask(mask))], "x.png", SIZE)["shapes"]
    assert len(shape["points"]) >= 3
    canvas = Image.new("1", SIZE)
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
    np.testing.assert_array_equal(np.asarray(canvas), mask)


def test_the_description_of_a_data_set_is_yaml(tmp_path: Path) -> None:
    from ultralytics.utils import YAML

    path = tmp_path / "data.yaml"
    path.write_text(data_yaml(["dining table", "no", "a: 'b' # c", "犬", "\\"]), encoding="utf-8")
    assert YAML.load(path)["names"] == dict(enumerate(["dining table", "no", "a: 'b' # c", "犬", "\\"]))


def test_labelmes_drawing(written: Path) -> None:
    """Pillow's polygons with their outlines, as labelme draws them."""
    wanted = np.load(written / "wanted.npy")
    document = json.loads((written / "scene_labelme.json").read_text("utf-8"))
    assert (written / document["imagePath"]).is_file()
    masks = np.zeros_like(wanted)
    groups: dict[Any, set[str]] = {}
    for one in document["shapes"]:
        drawn = Image.new("1", SIZE)
        ImageDraw.Draw(drawn).polygon([tuple(point) for point in one["points"]], outline=1, fill=1)
        masks[NAMES.index(one["label"])] |= np.asarray(drawn)
        groups.setdefault(one["group_id"], set()).add(one["label"])
    np.testing.assert_array_equal(masks, wanted)
    assert sorted(map(len, groups.values())) == [1, 1], "one group for each object"


def test_label_studios_names_and_percents(written: Path) -> None:
    (task,) = json.loads((written / "polygons_labelstudio.json").read_text("utf-8"))
    assert task["data"] == {"image": "/data/local-files/?d=scene.png"}
    regions = task["predictions"][0]["result"]
    assert len({one["id"] for one in regions}) == len(regions) > 2
    points = np.concatenate([one["value"]["points"] for one in regions])
    assert points.min() >= 0 and points.max() <= 100
    assert {one["value"]["polygonlabels"][0] for one in regions} == set(NAMES)


def test_the_tools_own_packages(written: Path) -> None:
    python = os.environ.get(PYTHON)
    if python is None:
        pytest.skip(f"annotation tools are not here: set {PYTHON}")
    done = subprocess.run(
        [python, str(Path(__file__).with_name("annotation_tools.py")), str(written)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = {"label studio: brush", "label studio's converter: brush", "label studio's converter: polygons"}
    assert told | {"labelme", "cvat-sdk"} <= set(done.stdout.splitlines())
