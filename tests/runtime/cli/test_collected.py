"""Folders, their sub-folders, and the documents that hold all pictures of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from clsclip_runtime import Segmenter
from clsclip_runtime.cli.infer import main
from tests.runtime.tiny_bundle import paint

Captured = pytest.CaptureFixture[str]

pytestmark = [
    pytest.mark.usefixtures("embedded_tiny"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

IMAGES = {
    "top.png": paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))}),
    "a/x.png": paint({"red": (slice(4, 7), slice(1, 5))}),
    "b/x.png": paint({"green": (slice(1, 3), slice(1, 3))}),
    "b/deep er/y.png": paint({}),
}


@pytest.fixture
def tree() -> Path:
    """A folder ``tree`` with pictures in it and its sub-folders."""
    for name, pixels in IMAGES.items():
        path = Path("tree", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    Path("tree/.hidden").mkdir()
    shutil.copy("tree/top.png", "tree/.hidden/no.png")
    return Path("tree")


def run(*arguments: str, formats: str = "coco") -> int:
    return main([*arguments, "--classes", "red", "green", "--out", "o", "--formats", formats, "-q"])


def read(name: str) -> Any:
    return json.loads(Path("o", name).read_text("utf-8"))


def check_coco(images: set[str]) -> COCO:
    """Read ``o/coco.json`` as pycocotools does, and compare with masks of each picture by itself."""
    coco = COCO("o/coco.json")
    assert {one["file_name"] for one in coco.dataset["images"]} == images
    ids = [one["id"] for one in coco.dataset["annotations"]]
    assert sorted(ids) == list(range(1, len(ids) + 1))
    assert len(coco.imgs) == len(images)
    with Segmenter.load() as segmenter:
        for image in coco.dataset["images"]:
            result = segmenter(IMAGES[image["file_name"]], ["red", "green"])
            masks = np.zeros((2, 32, 32), bool)
            for one in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
                masks[one["category_id"] - 1] |= coco.annToMask(one) > 0
            np.testing.assert_array_equal(masks, result.masks)
    return coco


def test_one_document_of_a_tree(tree: Path, capsys: Captured) -> None:
    assert run("tree/a") == 0
    capsys.readouterr()
    arguments = [str(tree), "--recursive", "--classes", "red", "green", "--out", "o", "--formats", "coco"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert told.err == "note: o/coco.json of an earlier run is replaced; --skip-existing goes on with it\n"
    assert "wrote o/coco.json" in told.out.splitlines()
    coco = check_coco(set(IMAGES))
    assert [one["name"] for one in coco.dataset["categories"]] == ["red", "green"]
    assert not list(Path("o").glob("*_coco.json"))


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["tree/**/*.png"], set(IMAGES)),
        (["tree/a", "tree/b/x.png"], {"a/x.png", "b/x.png"}),
        (["tree/b", "tree/b/x.png"], {"x.png"}),
    ],
)
def test_names_are_relative_to_what_all_have(tree: Path, sources: list[str], names: set[str]) -> None:
    assert run(*sources) == 0
    assert {one["file_name"] for one in read("coco.json")["images"]} == names


def test_a_picture_by_itself_has_its_own_document(tree: Path) -> None:
    assert run("tree/top.png", formats="coco,labelstudio,yolo,labelme") == 0
    names = {path.relative_to("o").as_posix() for path in Path("o").rglob("*") if path.is_file()}
    documents = {"top_coco.json", "top_labelstudio.json", "top_labelme.json"}
    assert names - {".clsclip-outputs.jsonl"} == documents | {"labels/top.txt", "data.yaml"}


def test_sub_folders_that_are_passed_over_are_told(tree: Path, capsys: Captured) -> None:
    assert main([str(tree), "--classes", "red", "--json"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert (
        captured.err == "note: tree has 2 sub-folders, which were passed over. Add --recursive for what is in there\n"
    )
    assert main(["tree/b/deep er", "--classes", "red", "--json"]) == 0
    assert capsys.readouterr().err == ""
    for name in ("a.psd", "b.PSD", "c.dng", "README", "labels.json", ".psd"):
        (tree / "b" / "deep er" / name).write_bytes(b"x")
    told = "files that are no images which can be read, passed over: 2 .psd, 1 .dng, 1 without a suffix\n"
    for arguments in (["tree/b/deep er"], ["tree", "--recursive"]):
        assert main([*arguments, "--classes", "red", "--json"]) == 0
        assert capsys.readouterr().err == f"note: {arguments[0]} has {told}"
    (tree / "top.png").unlink()
    assert main([str(tree), "--classes", "red"]) == 2
    assert "has no pictures, only sub-folders. Look into them: --recursive" in capsys.readouterr().err


def test_outputs_and_links_are_not_read_again(tree: Path, capsys: Captured) -> None:
    (tree / "again").symlink_to(Path("tree").absolute())
    arguments = [str(tree), "--recursive", "--classes", "red", "--out", "tree/out"]
    for _ in range(2):
        assert main(arguments) == 0
        told = capsys.readouterr()
        assert "[4/4" in told.out and "4 of 4 done in 0:0" in told.out
        assert "links to folders were passed over: tree/again" in told.err
    assert "tree/out was passed over: the outputs go there" in told.err


def test_label_studio_and_yolo_of_a_tree(tree: Path) -> None:
    assert run(str(tree), "--recursive", formats="labelstudio,yolo,labelme") == 0
    addresses = {one["data"]["image"] for one in read("labelstudio.json")}
    assert addresses == {f"/data/local-files/?d={name.replace(' ', '%20')}" for name in IMAGES}
    labels = {path.relative_to("o/labels").as_posix() for path in Path("o/labels").rglob("*.txt")}
    assert labels == {name.replace(".png", ".txt") for name in IMAGES}
    assert Path("o/labels/b/deep er/y.txt").read_text() == ""
    assert Path("o/labels/b/x.txt").read_text().startswith("1 ")
    paths = [Path("o", json.loads(one.read_text())["imagePath"]) for one in Path("o").glob("*_labelme.json")]
    assert {path.resolve() for path in paths} == {(tree / name).resolve() for name in IMAGES}


def test_pictures_that_yolo_cannot_tell_apart_are_refused(tree: Path, capsys: Captured) -> None:
    shutil.copy("tree/top.png", "tree/top.bmp")
    assert run(str(tree), formats="yolo") == 1
    assert "would both have the labels o/labels/top.txt" in capsys.readouterr().err
    assert not Path("o").exists()


def test_a_failing_picture_is_left_out(tree: Path) -> None:
    (tree / "a" / "broken.png").write_bytes(b"no picture")
    assert run(str(tree), "--recursive") == 1
    check_coco(set(IMAGES))


def test_skipped_pictures_stay_in_the_documents(tree: Path, capsys: Captured) -> None:
    formats = "coco,labelstudio,yolo"
    for name in ("b/x.png", "b/deep er/y.png"):
        (tree / name).rename(tree / name.replace("/", "_").replace(" ", "_"))
    assert run("tree/*.png", "tree/a", formats=formats) == 0
    before = read("coco.json")["annotations"]
    for name in ("b/x.png", "b/deep er/y.png"):
        (tree / name.replace("/", "_").replace(" ", "_")).rename(tree / name)
    arguments = [str(tree), "--recursive", "--classes", "red", "green", "--out", "o", "--formats", formats]
    assert main([*arguments, "--skip-existing"]) == 0
    told = capsys.readouterr().out
    assert "skipped 2 of 4, made of the same before; 2 to do" in told
    coco = check_coco(set(IMAGES))
    assert len(read("labelstudio.json")) == 4
    assert {one["area"] for one in before} <= {one["area"] for one in coco.dataset["annotations"]}
    assert main([*arguments, "--skip-existing"]) == 0
    assert "skipped 4 of 4" in capsys.readouterr().out
    Path("o/coco.json").write_text("{")
    assert main([*arguments, "--skip-existing"]) == 0
    assert "skipped 0 of 4" in capsys.readouterr().out
    check_coco(set(IMAGES))


def test_parts_and_polygons(tree: Path) -> None:
    two = paint({"red": (slice(0, 2), slice(0, 2)), "blue": (slice(3, 4), slice(0, 1))})
    two[20:28, 20:28] = (255, 0, 0)
    Image.fromarray(two).save("two.png")
    assert run("two.png", "--parts", "--polygons") == 0
    red = [one for one in read("two_coco.json")["annotations"] if one["category_id"] == 1]
    assert len(red) == 2
    assert all(isinstance(one["segmentation"], list) for one in red)
    assert red[0]["bbox"] != red[1]["bbox"]
    assert run("two.png", "--largest") == 0
    (kept,) = (one for one in read("two_coco.json")["annotations"] if one["category_id"] == 1)
    assert kept["area"] == max(one["area"] for one in red)


def test_options_about_masks(photo: Path, capsys: Captured) -> None:
    def areas(*more: str) -> list[int]:
        assert main([str(photo), "--classes", "red", "--json", *more]) == 0
        document = json.loads(capsys.readouterr().out)
        return [one["area"] for one in document["classes"]]

    (usual,) = areas()
    assert areas("--mask-threshold", "0.9")[0] < usual < areas("--mask-threshold", "0.1")[0]
    assert areas("--min-area", str(usual)) == [usual]
    assert areas("--min-area", str(usual + 1)) == [0]
    assert main([str(photo), "--classes", "red", "--mask-threshold", "2"]) == 2


def test_what_a_run_may_overwrite_is_none_of_its_pictures(tree: Path, capsys: Captured) -> None:
    (tree / "labels").mkdir()
    shutil.copy("tree/top.png", "tree/labels/z.png")
    assert main(["tree/labels/z.png", "--classes", "red", "--out", "tree", "--formats", "yolo"]) == 1
    assert "holds one of the pictures" in capsys.readouterr().err
