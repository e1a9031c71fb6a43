from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from clsclip_runtime import (
    Bundle,
    ImageError,
    OptionError,
    Segmenter,
    WordError,
)
from clsclip_runtime.arrays import Arrays
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.bundle.memory import pair_bytes, word_bytes
from clsclip_runtime.limits import Limits, fitting, text_rows_per_call
from clsclip_runtime.protocols import Backend, Graph, GraphFile
from clsclip_runtime.text.encoder import CACHED_BYTES
from tests.runtime.reading import presence_of, segmented, statuses
from tests.runtime.tiny_bundle import CONTEXT, GRID, make_bundle, paint

StickerImage = npt.NDArray[np.uint8]


class CountingBackend:
    """ONNX Runtime that remembers how often each graph ran and on how many rows of its first input."""

    name = "counting"
    fast_mb: int | None = None

    def __init__(self) -> None:
        self.inner: Backend = select_backend(threads=1)
        self.calls: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.largest: Counter[str] = Counter()
        self.loaded: Counter[str] = Counter()

    def load(self, file: GraphFile) -> Graph:
        self.loaded[file.path.stem] += 1
        return CountingGraph(self, self.inner.load(file), file.path.stem)


class CountingGraph:
    def __init__(self, owner: CountingBackend, inner: Graph, name: str) -> None:
        self.owner, self.inner, self.name = owner, inner, name
        self.inputs, self.outputs = inner.inputs, inner.outputs

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        assert set(feeds) == set(self.inputs)
        rows = len(feeds["class_index"] if "class_index" in feeds else next(iter(feeds.values())))
        self.owner.calls[self.name] += 1
        self.owner.rows[self.name] += rows
        self.owner.largest[self.name] = max(self.owner.largest[self.name], rows)
        return self.inner.run(feeds)


@pytest.fixture
def counting(bundle: Path) -> tuple[Segmenter, CountingBackend]:
    backend = CountingBackend()
    return Segmenter(Bundle.open(bundle), backend), backend


def test_masks_follow_the_words(segmenter: Segmenter, scene: StickerImage, red_mask: npt.NDArray[np.bool_]) -> None:
    result = segmenter(scene, ["blue", "red", "green"])
    assert result.classes == ("blue", "red", "green")
    assert result[0].presence is not None
    assert presence_of(result)[1:] == pytest.approx([1, 1])
    assert presence_of(result)[0] == pytest.approx(3**-0.5, abs=1e-3)
    assert segmented(result).tolist() == [False, True, True]
    assert (result.mask("red") == red_mask).all()
    assert not result.mask("blue").any()
    assert result.mask("green").any()
    assert not (result.mask("green") & red_mask).any()
    assert result.logits[1].max() == pytest.approx(2.5, abs=1e-4)
    assert np.isneginf(result.logits[0]).all()
    assert result.notes == []
    assert result.model == "tiny"
    assert result.backend == "onnxruntime-cpu"
    assert result.presence_threshold == 0.9


def test_masks_have_the_pictures_size(segmenter: Segmenter) -> None:
    image = paint({"red": (slice(0, 4), slice(0, 8))}, size=160)[:, :120]
    result = segmenter(image, "red")
    assert result.size == (120, 160)
    assert result.masks.shape == (1, 160, 120)
    assert result.mask(0)[:70].all()
    assert not result.mask(0)[90:].any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 20_000, 3), (20_000, 1, 3)])
def test_extreme_shapes_are_segmented(segmenter: Segmenter, shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, dtype=np.uint8)
    image[..., 0] = 255
    result = segmenter(image, ["red", "blue"])
    assert result.masks.shape == (2, *shape[:2])
    assert result.masks[0].all()
    assert not result.masks[1].any()


def test_threshold_zero_segments_every_word(counting: tuple[Segmenter, CountingBackend], scene: StickerImage) -> None:
    segmenter, backend = counting
    result = segmenter(scene, ["red", "blue", "green"], presence_threshold=0)
    assert segmented(result).all()
    assert result[0].presence is not None
    assert result.presence_threshold == 0
    assert backend.rows["trunk"] == 3
    assert np.isfinite(result.logits).all()
    assert statuses(result) == ("found", "empty", "found")


def test_absent_words_never_reach_the_trunk(counting: tuple[Segmenter, CountingBackend], scene: StickerImage) -> None:
    segmenter, backend = counting
    result = segmenter(scene, ["red", "blue", "yellow", "green"])
    assert backend.rows["trunk"] == 2
    assert result.pairs.classes.tolist() == [0, 3]
    assert segmenter(scene, ["blue"]).masks.sum() == 0
    assert backend.calls["trunk"] == 1


def test_threshold_one_keeps_only_certain_words(segmenter: Segmenter, scene: StickerImage) -> None:
    assert segmented(segmenter(scene, ["green", "blue"], presence_threshold=1)).tolist() == [True, False]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5", True, [0.5]])
def test_a_threshold_must_be_a_probability(segmenter: Segmenter, scene: StickerImage, threshold: Any) -> None:
    with pytest.raises(OptionError, match="presence_threshold must be a number from 0 to 1"):
        segmenter(scene, "red", presence_threshold=threshold)


def test_a_bundle_without_gate_segments_every_word(tmp_path: Path, scene: StickerImage) -> None:
    with Segmenter.load(make_bundle(tmp_path / "plain", presence=False)) as segmenter:
        result = segmenter(scene, ["red", "blue"])
        assert np.isnan(presence_of(result)).all()
        assert result.presence_threshold is None
        assert segmented(result).all()
        assert statuses(result) == ("found", "empty")
        ignored = segmenter(scene, ["red", "blue"], presence_threshold=0.5)
        assert segmented(ignored).all()
        assert ignored.notes == ["presence_threshold has no effect: the bundle cannot tell presence"]


def test_a_picture_is_encoded_once(counting: tuple[Segmenter, CountingBackend], scene: StickerImage) -> None:
    segmenter, backend = counting
    features = segmenter.set_image(scene)
    assert features.size == (32, 32)
    first = segmenter.predict(["red"])
    segmenter.predict(["green", "blue"])
    again = segmenter.predict(["red"], image=features)
    assert backend.calls["image_encoder"] == 1
    assert (first.masks == again.masks).all()
    assert "image" not in first.timings
    assert {"read", "image", "text", "presence", "masks", "total"} == set(segmenter(scene, "red").timings)


def test_both_ways_agree(segmenter: Segmenter, scene: StickerImage) -> None:
    called = segmenter(scene, ["red", "green"])
    segmenter.set_image(scene)
    assert (segmenter.predict(["red", "green"]).logits == called.logits).all()


def test_calling_keeps_the_current_picture(segmenter: Segmenter, scene: StickerImage) -> None:
    segmenter.set_image(scene)
    segmenter(np.zeros((8, 8), dtype=np.uint8), "red")
    assert segmenter.predict("red").size == (32, 32)


def test_predict_needs_a_picture(bundle: Path) -> None:
    with Segmenter.load(bundle) as segmenter, pytest.raises(OptionError, match="no image yet"):
        segmenter.predict("red")


def test_a_picture_of_another_bundle_is_refused(segmenter: Segmenter, tmp_path: Path, scene: StickerImage) -> None:
    with Segmenter.load(make_bundle(tmp_path / "other", presence=False)) as other:
        features = other.set_image(scene)
    with pytest.raises(OptionError, match="another bundle"):
        segmenter.predict("red", image=features)


def test_every_word_is_encoded_once(counting: tuple[Segmenter, CountingBackend], scene: StickerImage) -> None:
    segmenter, backend = counting
    segmenter(scene, ["red", "green"])
    segmenter(scene, ["green", "blue", "red"])
    segmenter(scene, [" blue ", "red"])
    assert backend.rows["text_encoder"] == 3


def test_templates_are_averaged(tmp_path: Path, scene: StickerImage) -> None:
    folder = make_bundle(tmp_path / "two", templates=("{}", "{} red", "a {}"))
    with Segmenter.load(folder) as segmenter:
        token = segmenter._opened().text.encode(["green"])
    assert token.arrays["text_tokens"][0] == pytest.approx([1 / 3, 1, 0], abs=1e-6)
    feature = np.asarray([2**-0.5, 2 + 2**-0.5, 0])
    assert token.arrays["text_features"][0] == pytest.approx(feature / np.linalg.norm(feature), abs=1e-6)


def test_a_word_without_feature_is_absent_not_nan(segmenter: Segmenter, scene: StickerImage) -> None:
    result = segmenter(scene, ["dining table", "red"])
    assert result[0].presence is not None
    assert presence_of(result)[0] == 0
    assert statuses(result) == ("absent", "found")


def test_words_with_braces_are_plain_text(segmenter: Segmenter, scene: StickerImage) -> None:
    assert statuses(segmenter(scene, ["{0.__class__}", "{}", "red"]))[2] == "found"


def test_a_word_longer_than_the_context_is_noted_every_time(
    segmenter: Segmenter, scene: StickerImage, caplog: pytest.LogCaptureFixture
) -> None:
    long = " ".join(["table"] * CONTEXT)
    with caplog.at_level(logging.WARNING, logger="clsclip_runtime"):
        results = [segmenter(scene, [long, "red"]) for _ in range(2)]
    for result in results:
        assert result.notes == [f"'{long}' is longer than the model's {CONTEXT} tokens: its end was cut off"]
    assert len(caplog.records) == 1


def test_truncation_keeps_start_and_end_tokens(segmenter: Segmenter) -> None:
    model = segmenter._opened().text._model
    assert model is not None
    ids = model[0].encode(" ".join(["table"] * 50)).ids
    assert len(ids) == CONTEXT
    assert (ids[0], ids[-1]) == (1, 2)


@pytest.mark.parametrize("words", [[], [""], ["a" * 257], ["do\0g"], 5])
def test_bad_words_are_told_before_the_picture_is_read(segmenter: Segmenter, words: Any) -> None:
    with pytest.raises(WordError):
        segmenter("/no/such/picture.png", words)


def test_a_bad_picture_is_told(segmenter: Segmenter) -> None:
    with pytest.raises(ImageError, match="no such file"):
        segmenter("/no/such/picture.png", "red")


def test_non_latin_words_are_kept(segmenter: Segmenter, scene: StickerImage) -> None:
    assert segmenter(scene, ["犬", "собака", "كلب", "red"]).classes == ("犬", "собака", "كلب", "red")


def test_duplicates_are_reported_once(segmenter: Segmenter, scene: StickerImage) -> None:
    result = segmenter(scene, ["red", "green", "red "])
    assert result.classes == ("red", "green")
    assert "'red' was asked 2 times" in result.notes[0]


def test_ten_thousand_words(scene: StickerImage, bundle: Path) -> None:
    backend = CountingBackend()
    segmenter = Segmenter(Bundle.open(bundle), backend, limits=Limits(memory_mb=64))
    words = [f"word {number}" for number in range(9_998)]
    result = segmenter(scene, [*words[:5000], "red", *words[5000:], "green"])
    assert segmented(result).sum() == 2
    assert statuses(result)[5000] == "found"
    assert backend.rows["text_encoder"] == 10_000
    assert backend.largest["text_encoder"] <= 256
    assert segmenter._opened().text._cache.nbytes <= CACHED_BYTES


def test_the_cache_is_bounded_and_forgets_the_oldest(counting: tuple[Segmenter, CountingBackend]) -> None:
    text = counting[0]._opened().text
    text._cache.limit = 3 * (24 + 512)  # two vectors of 3 float32, and what Python needs beside them
    text.encode(["a", "b", "c"])
    text._cache.limit = text._cache.nbytes  # as many bytes as these three words take
    text.encode(["a"])
    text.encode(["d"])
    assert list(text._cache) == ["c", "a", "d"]
    large = text.encode([f"w{number}" for number in range(10)])
    assert large.arrays["text_tokens"].shape == (10, 3)
    assert len(text._cache) == 3


def test_pairs_are_chunked_to_the_memory_bound(bundle: Path, scene: StickerImage) -> None:
    words = [f"word {number}" for number in range(40)] + ["red"]
    whole = Segmenter(Bundle.open(bundle), CountingBackend(), limits=Limits(memory_mb=1024))
    backend = CountingBackend()
    small = Segmenter(Bundle.open(bundle), backend, limits=Limits(memory_mb=1))
    expected, result = whole(scene, words, presence_threshold=0), small(scene, words, presence_threshold=0)
    fit = fitting(1, pair_bytes(1 + GRID * GRID, 3, GRID, GRID))
    assert 1 < fit < 41
    assert backend.largest["trunk"] == fit
    assert backend.calls["trunk"] == -(-41 // fit)
    assert np.allclose(result.logits, expected.logits, atol=1e-5)
    assert [one.area for one in result] == [one.area for one in expected]


def test_memory_estimates_are_monotone_and_at_least_one_fits() -> None:
    small, large = pair_bytes(65, 128, 64, 64), pair_bytes(257, 128, 64, 64)
    assert 0 < small < large
    assert fitting(1, 1 << 40) == 1
    assert text_rows_per_call(1, 1 << 18) == 4
    assert text_rows_per_call(1, word_bytes(77, 512)) == 1
    assert text_rows_per_call(1024, word_bytes(24, 128)) == 256
    # ViT-B/16 at 224 px: a gibibyte holds some dozens of pairs.
    assert 30 < fitting(1024, pair_bytes(197, 768, 56, 56)) < 120


def test_variants_may_need_fewer_or_more_inputs(tmp_path: Path, segmenter: Segmenter, scene: StickerImage) -> None:
    with Segmenter.load(make_bundle(tmp_path / "more", trunk_takes_patch_features=True)) as other:
        assert "patch_features" in other._opened()._trunk.inputs
        assert np.allclose(other(scene, ["red"]).logits, segmenter(scene, ["red"]).logits)


@pytest.mark.parametrize("takes_patch_features", [False, True])
def test_the_single_graph_gives_equal_logits(tmp_path: Path, scene: StickerImage, takes_patch_features: bool) -> None:
    folder = make_bundle(tmp_path / "tiny", trunk_takes_patch_features=takes_patch_features)
    words = ["red", "green", "blue", "white", "yellow"]
    with Segmenter.load(folder) as segmenter:
        result = segmenter(scene, words, presence_threshold=0)
        tokens = segmenter._opened().text.encode(words).arrays["text_tokens"]
    session = onnxruntime.InferenceSession(str(folder / "segmenter.onnx"), providers=["CPUExecutionProvider"])
    pixels = (scene / np.float32(255) - np.asarray([0.5, 0.4, 0.3])) / np.asarray([0.25, 0.2, 0.3])
    (logits,) = session.run(
        None,
        {
            "pixel_values": pixels.transpose(2, 0, 1)[None].astype(np.float32),
            "text_tokens": tokens,
            "crop_index": np.zeros(5, dtype=np.int64),
            "class_index": np.arange(5),
        },
    )
    assert np.allclose(logits, result.logits, atol=1e-4)


def test_eight_threads_get_the_same_results(bundle: Path, scene: StickerImage) -> None:
    backend = CountingBackend()
    with Segmenter(Bundle.open(bundle), backend) as segmenter:
        words = ["red", "green", "blue", "white", "犬"]
        images = [np.roll(scene, 4 * shift, axis=1) for shift in range(8)]
        expected = [segmenter(image, words).masks for image in images]
        backend.rows.clear()
        segmenter._opened().text._cache.clear()
        start = threading.Barrier(8)

        def work(at: int) -> bool:
            start.wait()
            fine = True
            for _ in range(5):
                segmenter.set_image(images[at])
                fine &= bool((segmenter.predict(words).masks == expected[at]).all())
            return fine

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))
        assert backend.rows["text_encoder"] == len(words)
