"""Several images in one call: words of their own, errors of their own, images that were decoded elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime import (
    Bundle,
    ClsclipRuntimeError,
    ImageError,
    OptionError,
    Result,
    Segmenter,
    WordError,
    open_image,
)
from tests.runtime.test_segmenter import CountingBackend
from tests.runtime.tiny_bundle import make_bundle, paint

Image = npt.NDArray[np.uint8]
RED = paint({"red": (slice(1, 4), slice(1, 5))})
GREEN = paint({"green": (slice(5, 7), slice(2, 4))})
BOTH = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})


def test_every_image_has_words_of_its_own(bundle: Path) -> None:
    backend = CountingBackend()
    images, asked = [RED, GREEN, BOTH], [["red", "blue"], ["green"], ["green", "white", "red"]]
    with Segmenter(Bundle.open(bundle), backend) as segmenter:
        together = segmenter.batch(images, asked)
        assert backend.calls["image_encoder"] == backend.calls["trunk"] == 1, "they share the calls"
        for image, words, result in zip(images, asked, together, strict=True):
            alone = segmenter(image, words)
            assert result.classes == tuple(words)
            assert [one.status for one in result] == [one.status for one in alone]
            assert [one.presence for one in result] == pytest.approx([one.presence for one in alone])
            assert (result.masks == alone.masks).all()
            assert (result.labels() == alone.labels()).all()
    assert [one.name for one in together[2] if one.status == "found"] == ["green", "red"]


def test_the_same_words_for_all(segmenter: Segmenter) -> None:
    one, other = segmenter.batch([RED, GREEN], "red")
    assert (one["red"].status, other["red"].status) == ("found", "absent")
    assert [result.classes for result in segmenter.batch((RED, GREEN), ("red", "green"))] == [("red", "green")] * 2
    assert len(segmenter.batch((image for image in (RED, GREEN, BOTH)), ["red"])) == 3, "a generator will do"
    assert segmenter.batch([], ["red"]) == []


def test_wrong_numbers_of_lists_are_told(segmenter: Segmenter) -> None:
    with pytest.raises(OptionError, match="2 images need as many lists of classes, not 1"):
        segmenter.batch([RED, GREEN], [["red"]])
    with pytest.raises(OptionError, match="2 images need as many lists of regions, not 1"):
        segmenter.batch([RED, GREEN], ["red"], regions=[[[0, 0, 9, 9]]])
    with pytest.raises(WordError):
        segmenter.batch([RED, GREEN], [["red"], [3]])  # type: ignore[list-item]


def test_a_damaged_image_does_not_fail_its_neighbours(segmenter: Segmenter, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n")
    images = [RED, damaged, tmp_path / "none.png", GREEN]
    with pytest.raises(ImageError):
        segmenter.batch(images, ["red"])
    found = segmenter.batch(images, ["red"], return_errors=True)
    assert [type(one) for one in found] == [Result, ImageError, ImageError, Result]
    assert "damaged.png" in str(found[1])
    assert "no such file" in str(found[2])
    first, last = found[0], found[3]
    assert isinstance(first, Result)
    assert isinstance(last, Result)
    assert (first.masks == segmenter(RED, ["red"]).masks).all()
    assert last["red"].status == "absent"


def test_words_and_boxes_fail_for_their_image_alone(segmenter: Segmenter) -> None:
    found = segmenter.batch([RED, GREEN, BOTH], [["red"], [" "], ["red"]], return_errors=True)
    assert [type(one) for one in found] == [Result, WordError, Result]
    boxes = [[[0, 0, 32, 32]], [["a", 0, 1, 1]], [[0, 0, 32, 32]]]
    found = segmenter.batch([RED, GREEN, BOTH], ["red"], regions=boxes, return_errors=True)
    assert [type(one) for one in found] == [Result, OptionError, Result]


def test_what_fails_in_the_engine_fails_alone(bundle: Path) -> None:
    """A call of the encoder that gives NaN for one image is repeated image by image."""

    class Poisoned(CountingBackend):
        def load(self, file):  # type: ignore[no-untyped-def]
            graph = super().load(file)
            if file.path.stem == "image_encoder":
                run = graph.run

                def poisoned(feeds):  # type: ignore[no-untyped-def]
                    outputs = dict(run(feeds))
                    dark = np.asarray(feeds["pixel_values"]).reshape(len(feeds["pixel_values"]), -1).max(axis=1) < 0
                    outputs["stem_tokens"] = np.where(dark[:, None, None], np.nan, outputs["stem_tokens"])
                    return outputs

                graph.run = poisoned  # type: ignore[method-assign]
            return graph

    black = np.zeros((32, 32, 3), np.uint8)
    with Segmenter(Bundle.open(bundle), Poisoned()) as segmenter:
        with pytest.raises(ClsclipRuntimeError, match="NaN"):
            segmenter.batch([RED, black, BOTH], ["red"])
        found = segmenter.batch([RED, black, BOTH], ["red"], return_errors=True)
        assert [isinstance(one, Result) for one in found] == [True, False, True]
        assert "NaN or infinity (stem_tokens) for <array>" in str(found[1])
        assert (found[0].masks == segmenter(RED, ["red"]).masks).all()  # type: ignore[union-attr]


def test_errors_of_the_call_itself_are_raised(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="max_classes must be"):
        segmenter.batch([RED], ["red"], max_classes=0, return_errors=True)
    closed = Segmenter.load(make_bundle(tmp_path / "tiny.clsclip"))
    closed.close()
    with pytest.raises(ClsclipRuntimeError, match="closed"):
        closed.batch([RED], ["red"], return_errors=True)


def test_images_decoded_in_other_threads(segmenter: Segmenter, photo: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        decoded = list(pool.map(open_image, [photo, photo.read_bytes(), RED]))
    assert [one.size for one in decoded] == [(32, 32)] * 3
    assert decoded[0].source == str(photo)
    found = segmenter.batch(decoded, ["red", "green"])
    for result, source in zip(found, (photo, photo, RED), strict=True):
        assert (result.masks == segmenter(source, ["red", "green"]).masks).all()
    assert found[0].source == str(photo)
    assert segmenter.set_image(decoded[2]).image is decoded[2], "nothing is decoded twice"
