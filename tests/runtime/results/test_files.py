from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from clsclip_runtime import OptionError, OutputError, Result, Segmenter
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results import files as saving
from clsclip_runtime.results.codecs.coco_rle import encode_rle
from clsclip_runtime.results.overlay import colors
from tests.runtime.reading import presence_of, statuses

StickerImage = npt.NDArray[np.uint8]
WORDS = ["red", "blue", "green", "dining table"]

# pycocotools' decoder, which only these tests use, is older than numpy 2's rules for __array__.
DECODING = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def result(segmenter: Segmenter, photo: Path) -> Result:
    return segmenter(photo, WORDS)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_mask_files_are_black_and_white_at_the_pictures_size(
    result: Result, tmp_path: Path, red_mask: npt.NDArray[np.bool_]
) -> None:
    written = result.save(tmp_path / "new" / "out", "png")
    assert [path.name for path in written] == [
        "photo_red.png",
        "photo_blue.png",
        "photo_green.png",
        "photo_dining-table.png",
    ]
    with Image.open(written[0]) as image:
        assert image.mode == "1"
        assert (np.asarray(image) == red_mask).all()
        assert (np.asarray(image.convert("L")) == red_mask * 255).all()
    with Image.open(written[1]) as image:
        assert not np.asarray(image).any()


def test_every_format_is_written_and_nothing_else(result: Result, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = result.save(out, saving.FORMATS, stem="x")
    assert {path.name for path in written} == names(out)
    assert {"x_overlay.png", "x_labels.png", "x_coco.json", "x.npz"} < names(out)
    assert result.save(out, saving.FORMATS, stem="x") == written


def test_label_map_numbers_are_positions(result: Result, tmp_path: Path, red_mask: npt.NDArray[np.bool_]) -> None:
    (path,) = result.save(tmp_path, "labels")
    with Image.open(path) as image:
        assert image.mode == "P"
        labels = np.asarray(image)
        assert ((labels == 1) == red_mask).all()
        assert set(np.unique(labels)) == {0, 1, 3}
        assert (np.asarray(image.convert("RGB"))[red_mask] == colors(4)[0]).all()


def test_label_maps_of_many_words_are_16_bit(segmenter: Segmenter, photo: Path, tmp_path: Path) -> None:
    result = segmenter(photo, [*(f"w{number}" for number in range(300)), "red"])
    (path,) = result.save(tmp_path, "labels")
    with Image.open(path) as image:
        assert set(np.unique(np.asarray(image))) == {0, 301}


@DECODING
def test_coco_masks_come_back(result: Result, tmp_path: Path) -> None:
    (path,) = result.save(tmp_path, "coco")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["images"] == [{"id": 1, "file_name": "photo.png", "width": 32, "height": 32}]
    assert [category["name"] for category in document["categories"]] == WORDS
    assert [one["category_id"] for one in document["annotations"]] == [1, 3]
    for one in document["annotations"]:
        mask = result.mask(one["category_id"] - 1)
        assert (coco_mask.decode(one["segmentation"]) == mask).all()
        assert one["area"] == mask.sum() == coco_mask.area(one["segmentation"])
        assert one["bbox"] == coco_mask.toBbox(one["segmentation"]).tolist()
        assert one["iscrowd"] == 0
        assert one["score"] == pytest.approx(1)
    assert result.to_coco(image_id=7)["annotations"][0]["image_id"] == 7


@DECODING
@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(0, 99))
def test_rle_round_trip(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    encoded = json.loads(json.dumps(encode_rle(RleMask.from_mask(mask))))
    assert encoded["size"] == [height, width]
    assert (coco_mask.decode(encoded) == mask).all()


@settings(max_examples=150)
@given(
    st.tuples(*[st.integers(0, 6)] * 4), st.tuples(*[st.integers(1, 7)] * 2), st.integers(0, 2**32 - 1), st.floats(0, 1)
)
def test_rle_of_a_window_is_that_of_the_whole_mask(
    margins: tuple[int, ...], sides: tuple[int, int], seed: int, share: float
) -> None:
    """Against pycocotools' own encoding of the full mask."""
    left, top, right, bottom = margins
    crop = np.random.default_rng(seed).random(sides[::-1]) < share
    mask = np.pad(crop, ((top, bottom), (left, right)))
    found = encode_rle(RleMask.from_mask(crop).placed(left, top, (mask.shape[1], mask.shape[0])))
    expected = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    assert found == {"size": list(mask.shape), "counts": expected["counts"].decode()}


def test_without_pycocotools_the_other_formats_work(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(OutputError, match="pip install pycocotools"):
        result.save(tmp_path / "out", "coco")
    assert names(tmp_path / "out") == set()
    result.save(tmp_path / "out", ["png", "overlay", "labels", "npz"])


def test_npz_needs_no_pickle(result: Result, tmp_path: Path) -> None:
    (path,) = result.save(tmp_path, "npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["classes"].tolist() == WORDS
        assert (arrays["presence"] == presence_of(result)).all()
        assert arrays["mask_index"].tolist() == [0, 2]
        assert arrays["schema_version"] == 2
        assert arrays["status"].tolist() == list(statuses(result))
        assert (arrays["masks"] == result.masks[[0, 2]]).all()
        assert (arrays["logits"] == result.pairs.logits).all()
        assert arrays["areas"].tolist() == [one.area for one in result]
        assert arrays["pair_class"].tolist() == [0, 2]
        assert arrays["pair_window"].tolist() == [[0, 0, *result.size]] * 2
        assert arrays["pair_box"].tolist() == [-1, -1]
        assert arrays["boxes"].shape == (0, 4)


def test_results_without_any_mask_are_saved(segmenter: Segmenter, photo: Path, tmp_path: Path) -> None:
    result = segmenter(photo, ["blue"])
    result.save(tmp_path / "out", saving.FORMATS)
    with np.load(tmp_path / "out" / "photo.npz") as arrays:
        assert arrays["masks"].shape == (0, 32, 32)
    assert result.to_coco()["annotations"] == []


def test_json_is_plain(result: Result) -> None:
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["width"] == document["height"] == 32
    assert document["model"] == "tiny"
    red, blue = document["classes"][:2]
    assert red["status"] == "found"
    assert red["area"] == 140
    assert red["area_percent"] == pytest.approx(100 * 140 / 1024, abs=1e-4)
    assert red["box"] == [5, 5, 14, 10]
    assert blue == {
        "name": "blue",
        "prompts": ["blue"],
        "presence": pytest.approx(0.577, abs=1e-3),
        "status": "absent",
        "reason": "presence below 0.90",
        "area": 0,
        "area_percent": 0,
        "box": None,
        "searched": ["whole-image"],
        "match": None,
    }
    assert document["schema_version"] == 2
    assert document["regions"] is None
    assert [one["class"] for one in document["instances"]] == ["red", "green"]


def test_words_are_found_by_name_and_position(result: Result) -> None:
    assert (result.mask("green") == result.mask(2)).all()
    assert (result.mask(-2) == result.mask(2)).all()
    assert (result.masks[2] == result.mask(2)).all()
    assert [one.area for one in result] == result.masks.sum(axis=(1, 2)).tolist()
    assert "2 of 4 classes segmented" in repr(result)
    with pytest.raises(OptionError, match=r"'cat' was not asked. The classes are: red, blue"):
        result.mask("cat")
    for position in (4, -5):
        with pytest.raises(OptionError, match="no class number"):
            result.mask(position)


@pytest.mark.parametrize("formats", [[], "jpeg", ["png", "gif"], ""])
def test_unknown_formats_are_listed_and_nothing_is_made(result: Result, tmp_path: Path, formats: Any) -> None:
    with pytest.raises(OptionError, match="Choose from: png, overlay, labels, coco, npz"):
        result.save(tmp_path / "out", formats)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stem", ["../x", "a/b", "..", ".", "", "a\\b", "a\0b", "/abs", "a\nb"])
def test_a_stem_must_be_a_plain_name(result: Result, tmp_path: Path, stem: str) -> None:
    with pytest.raises(OptionError, match="stem must be a plain file name"):
        result.save(tmp_path / "out", stem=stem)


def test_sources_without_name_are_called_picture(segmenter: Segmenter, scene: StickerImage, tmp_path: Path) -> None:
    segmenter(scene, "red").save(tmp_path, "png")
    assert names(tmp_path) == {"picture_red.png"}


def test_very_long_names_fit(segmenter: Segmenter, photo: Path, tmp_path: Path) -> None:
    long = photo.rename(photo.with_name("é" * 120 + ".png"))
    words = ["犬" * 250, "犬" * 251, "x" * 256]
    written = segmenter(long, words).save(tmp_path / "out", saving.FORMATS)
    assert len(names(tmp_path / "out")) == len(written) == 10


def test_a_folder_that_is_a_file_is_told(result: Result, photo: Path) -> None:
    for folder in (photo, photo / "below"):
        with pytest.raises(OutputError, match=r"cannot write .*Give a folder"):
            result.save(folder)


def test_an_unwritable_folder_is_told(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*Permission denied"):
        result.save(tmp_path / "out")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("x")])
def test_nothing_half_written_stays(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "photo_overlay.png").write_bytes(b"the old one")

    class Broken:
        def save(self, file: io.BufferedWriter, _: str) -> None:
            file.write(b"half")
            raise error

    monkeypatch.setattr(Result, "overlay", lambda _: Broken())
    before = names(tmp_path)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        result.save(tmp_path, "overlay")
    assert names(tmp_path) == before
    assert (tmp_path / "photo_overlay.png").read_bytes() == b"the old one"


def test_files_have_the_usual_permissions(result: Result, tmp_path: Path) -> None:
    (path,) = result.save(tmp_path / "out", "labels")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_picture_itself_is_never_overwritten(segmenter: Segmenter, photo: Path) -> None:
    trap = photo.rename(photo.with_name("x_red.png"))
    result = segmenter(trap, "red")
    with pytest.raises(OutputError, match="is the image itself"):
        result.save(trap.parent, "png", stem="x")


@pytest.mark.parametrize(
    ("words", "slugs"),
    [
        (["dining table", "dining-table", "dining  table!"], ["dining-table", "dining-table-2", "dining-table-3"]),
        (["../../etc/passwd", "a/b\\c"], ["etc-passwd", "a-b-c"]),
        (["overlay", "labels", "Overlay"], ["overlay-2", "labels-2", "Overlay-3"]),
        (["犬", "собака", "كلب"], ["犬", "собака", "كلب"]),
        (["dog", "Dog", "DOG-2", "dog-2"], ["dog", "Dog-2", "DOG-2-2", "dog-2-3"]),
        (["🐶", "...", "?"], ["word", "word-2", "word-3"]),
        (["snake_case"], ["snake-case"]),
    ],
)
def test_slugs(words: list[str], slugs: list[str]) -> None:
    assert saving.slugs(words) == slugs


@given(st.lists(st.text(min_size=1, max_size=300), max_size=12))
def test_slugs_are_safe_and_distinct_on_any_file_system(words: list[str]) -> None:
    slugs = saving.slugs(words)
    folded = {unicodedata.normalize("NFKC", slug.casefold()) for slug in slugs}
    assert len(slugs) == len(words) == len(folded)
    for slug in slugs:
        assert slug == Path(slug).name
        assert slug not in ("", ".", "..", "overlay", "labels")
        assert not set(slug) & set('/\\:*?"<>|_. \0')
        assert len(slug.encode("utf-8", "surrogatepass")) < 90


def test_colours_are_distinct() -> None:
    palette = colors(255)
    assert palette.shape == (255, 3)
    assert len({tuple(colour) for colour in palette.tolist()}) == 255
    assert (colors(5) == palette[:5]).all()
    assert colors(0).shape == (0, 3)


def test_the_overlay_is_readable_at_any_size(segmenter: Segmenter) -> None:
    for width, height in ((1, 1), (32, 32), (5000, 30), (30, 5000), (3000, 2000), (20_000, 1)):
        image = segmenter(np.full((height, width, 3), (255, 0, 0), dtype=np.uint8), ["red", "blue"]).overlay()
        assert image.mode == "RGB"
        assert image.width >= 420
        assert max(image.size) <= 1800


def test_the_overlay_colours_what_was_found(segmenter: Segmenter, photo: Path) -> None:
    result = segmenter(photo, WORDS)
    image = np.asarray(result.overlay(labels=False))
    assert image.shape[0] > 512
    assert image.shape[1] == 512
    # The middle of the red square is half red, half the first colour; the grey between is as it was.
    assert (np.abs(image[160, 192].astype(int) - (np.asarray([255, 0, 0]) + colors(1)[0]) // 2) <= 1).all()
    assert (image[16, 500] == 160).all()
    legend = image[512:].reshape(-1, 3)
    assert (legend == colors(1)[0]).all(axis=1).any()
    assert not (legend == colors(2)[1]).all(axis=1).any()


def test_legends_of_many_or_strange_words_are_bounded(segmenter: Segmenter, scene: StickerImage) -> None:
    words = [*(f"w{number}" for number in range(1000)), "犬", "x" * 256, "red"]
    image = segmenter(scene, words).overlay()
    assert image.height < 512 + 1600


def test_words_that_no_font_here_has_are_noted(segmenter: Segmenter, photo: Path) -> None:
    lacking = "\U0001fae8\ufffe"  # no font has a character for what is none
    result = segmenter(photo, ["red", lacking])
    result.overlay()
    result.overlay()
    (note,) = (note for note in result.notes if "font" in note)
    assert note.startswith(f"no font here has all letters of {lacking}: the overlay shows boxes")
    plain = segmenter(photo, ["red"])
    plain.overlay()
    assert plain.notes == []


def test_a_stem_that_no_file_can_have_is_refused(result: Result, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a name that files can have"):
        result.save(tmp_path, stem="\ud800")
    with pytest.raises(OptionError, match="size must be"):
        result.mask_at_size(0, (0, 0))
