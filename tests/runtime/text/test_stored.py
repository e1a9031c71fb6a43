"""``text_tokens.safetensors``, written here and read by the safetensors library, and the other way round."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from clsclip_runtime import Bundle, Proposals, Segmenter
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.bundle.opening import TEXT_ENCODER, TEXT_TOKENS, TOKENIZER
from clsclip_runtime.bundle.specs import FeatureSpec
from clsclip_runtime.errors import BundleError, OptionError, OutputError, WordError
from clsclip_runtime.text.encoder import TextEncoder
from clsclip_runtime.text.stored import StoredWords, write_text_tokens
from tests.runtime.tiny_bundle import make_bundle, paint, sign

FEATURES = (
    FeatureSpec("sequence", (4, 2), "float32", ("trunk",)),
    FeatureSpec("unit", (3,), "float32", ("presence",), unit_norm=True),
    FeatureSpec("score", (), "float32", ("trunk",)),
)
WORDS = ["dog", "hot dog", "犬"]


def arrays() -> dict[str, Any]:
    unit = np.array([[0.6, 0.8, 0], [0, 0, 1], [0, 0, 0]], np.float32)
    sequence = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    return {"sequence": sequence, "unit": unit, "score": np.array([1, -2, 3], np.float32)}


def metadata(**change: str | None) -> dict[str, str]:
    found = {"schema_version": "2", "words": json.dumps(WORDS), **change}
    return {key: value for key, value in found.items() if value is not None}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / TEXT_TOKENS
    write_text_tokens(path, WORDS, arrays(), truncated=["hot dog"])
    stored = StoredWords.read(path, FEATURES)
    assert stored.words == tuple(WORDS)
    assert "犬" in stored
    assert "Dog" not in stored
    found = stored.find(["犬", "cat", "hot dog"])
    assert list(found) == ["犬", "hot dog"]
    assert (found["犬"].truncated, found["hot dog"].truncated) == (False, True)
    for name, array in arrays().items():
        np.testing.assert_array_equal(found["犬"].arrays[name], array[2])
        np.testing.assert_array_equal(found["hot dog"].arrays[name], array[1])


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / TEXT_TOKENS
    write_text_tokens(path, WORDS, {name: np.asfortranarray(one) for name, one in arrays().items()})
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["words"]) == WORDS
        assert file.metadata()["schema_version"] == "2"
        assert set(file.keys()) == set(arrays())
        for name, array in arrays().items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
    again = tmp_path / "again"
    write_text_tokens(again, WORDS, dict(reversed(arrays().items())))
    assert again.read_bytes() == path.read_bytes(), "the same words always give the same file"


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / TEXT_TOKENS
    save_file(arrays() | {"of a later version": np.zeros(2)}, path, metadata(more="ignored"))
    found = StoredWords.read(path, FEATURES).find(WORDS)
    np.testing.assert_array_equal(found["dog"].arrays["sequence"], arrays()["sequence"][0])
    assert found["dog"].arrays["score"] == 1


Change = Callable[[dict[str, Any]], Any]


def longer(tensors: dict[str, Any]) -> None:
    tensors["unit"] *= np.float32(1.01)


def without(tensors: dict[str, Any]) -> None:
    del tensors["score"]


def other(name: str, value: Any) -> Change:
    return lambda tensors: tensors.__setitem__(name, value)


@pytest.mark.parametrize(
    ("about", "change", "message"),
    [
        (metadata(schema_version=None), None, "schema version missing, and 2 was expected"),
        (metadata(schema_version="3"), None, r"schema version 3.*Upgrade clsclip"),
        (metadata(words=None), None, "list of words is missing"),
        (metadata(words="{}"), None, "list of words is missing"),
        (metadata(words="[1"), None, "unusable"),
        (metadata(words="[" * 100_000), None, "unusable"),
        (metadata(words='["dog", "hot dog"]'), None, r"sequence is F32 of shape \(3, 4, 2\), and F32 of \(2, 4, 2\)"),
        (metadata(words="[]"), None, "there is no word"),
        (metadata(words='["dog", "dog", "cat"]'), None, "'dog' comes twice"),
        (metadata(words='["dog", "hot  dog", "cat"]'), None, "is not clean"),
        (metadata(words='["dog", "cafe\u0301", "cat"]'), None, "is not clean"),
        (metadata(words='["dog", 5, "cat"]'), None, "must be a text"),
        (metadata(words='["dog", "", "cat"]'), None, "is empty"),
        (metadata(truncated='["cat"]'), None, "cut off is not among the words"),
        (metadata(truncated="[[]]"), None, "cut off is not among the words"),
        (metadata(), without, "lacks score, which the manifest lists"),
        (metadata(), other("score", np.zeros(4, np.float32)), r"score is F32 of shape \(4,\), and F32 of \(3,\)"),
        (metadata(), other("score", np.zeros((3, 1), np.float32)), r"of shape \(3, 1\), and F32 of \(3,\)"),
        (metadata(), other("score", np.zeros(3, np.float16)), r"score is F16 of shape"),
        (metadata(), other("score", np.array([0, np.nan, 0], np.float32)), "score has NaN or infinity"),
        (metadata(), longer, "unit is not of unit length"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, about: dict[str, str], change: Change | None, message: str
) -> None:
    path, tensors = tmp_path / TEXT_TOKENS, arrays()
    if change is not None:
        change(tensors)
    save_file(tensors, path, about)
    with pytest.raises(BundleError, match=message):
        StoredWords.read(path, FEATURES)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0[1,2,3] ", None])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / TEXT_TOKENS
    write_text_tokens(path, WORDS, arrays())
    path.write_bytes(path.read_bytes()[:-4] if content is None else content)
    with pytest.raises(BundleError, match="is unusable"):
        StoredWords.read(path, FEATURES)
    path.unlink()
    with pytest.raises(BundleError, match="is unusable"):
        StoredWords.read(path, FEATURES)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / TEXT_TOKENS
    for words in (["dog", "dog", "cat"], ["dog", " hot dog", "cat"], []):
        with pytest.raises(WordError):
            write_text_tokens(path, words, arrays())
    for bad in (np.zeros(2, np.float32), np.zeros(3), np.float32(1), np.array([0, np.inf, 0], np.float32)):
        with pytest.raises(OptionError, match="score must be finite float32 with one row for each of the 3 words"):
            write_text_tokens(path, WORDS, arrays() | {"score": bad})
    with pytest.raises(OptionError, match="not among the words"):
        write_text_tokens(path, WORDS, arrays(), truncated=["cat"])
    with pytest.raises(OutputError):
        write_text_tokens(tmp_path / "none" / TEXT_TOKENS, WORDS, arrays())
    assert not list(tmp_path.iterdir())


def stored_bundle(folder: Path, *, keep_encoder: bool) -> Path:
    """The tiny bundle with red and green in ``text_tokens.safetensors``, which its own text encoder made."""
    make_bundle(folder)
    opened = Bundle.open(folder)
    graph = OnnxRuntimeCpu(threads=1).load(opened.graph(TEXT_ENCODER))
    encoded = TextEncoder.from_bundle(opened, graph).encode(["red", "green"])
    write_text_tokens(folder / TEXT_TOKENS, encoded.words, encoded.arrays)
    if not keep_encoder:
        for name in (TEXT_ENCODER, TOKENIZER):
            (folder / name).unlink()
    sign(folder, {key: value for key, value in opened.manifest.raw.items() if key != "files"})
    return folder


@pytest.mark.parametrize("keep_encoder", [False, True])
def test_a_bundle_with_stored_words_gives_the_same_masks(tmp_path: Path, bundle: Path, keep_encoder: bool) -> None:
    scene = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})
    with (
        Segmenter.load(bundle) as whole,
        Segmenter.load(stored_bundle(tmp_path / "tiny", keep_encoder=keep_encoder)) as other,
    ):
        np.testing.assert_array_equal(other(scene, ["green", "red"]).masks, whole(scene, ["green", "red"]).masks)
        if keep_encoder:
            np.testing.assert_array_equal(other(scene, ["red", "blue"]).masks, whole(scene, ["red", "blue"]).masks)
            return
        with pytest.raises(WordError, match=r"knows 2 words and 'blue' is not .* It knows: red, green\. Export"):
            other(scene, ["red", "blue"])
        # Class names of boxes need not be known: those that are not are matched by spelling.
        boxes = Proposals.from_boxes([[0, 0, 32, 32]], names=["ship"])
        assert other(scene, ["red"], regions=boxes)["red"].match.how == "none"


def test_a_damaged_file_is_told_when_the_bundle_is_loaded(tmp_path: Path) -> None:
    folder = stored_bundle(tmp_path / "tiny", keep_encoder=True)
    document = json.loads((folder / "manifest.json").read_text())
    (folder / TEXT_TOKENS).write_bytes(b"no tensors")
    sign(folder, {key: value for key, value in document.items() if key != "files"})
    with pytest.raises(BundleError, match=r"text_tokens\.safetensors is unusable .*export it again"):
        Segmenter.load(folder)


def test_words_are_those_that_were_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes the file after it was verified changes nothing."""
    folder = stored_bundle(tmp_path / "tiny", keep_encoder=False)
    scene = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})
    with Segmenter.load(folder) as segmenter:
        expected = segmenter(scene, ["red", "green"]).masks
    from_bundle = TextEncoder.from_bundle

    def late(bundle: Bundle, *args: Any, **options: Any) -> TextEncoder:
        stored = StoredWords.of_bundle(bundle)
        swapped = {name: array[::-1].copy() for name, array in stored._arrays.items()}
        write_text_tokens(folder / TEXT_TOKENS, stored.words, swapped)
        return from_bundle(bundle, *args, **options)

    monkeypatch.setattr(TextEncoder, "from_bundle", late)
    with Segmenter.load(folder) as segmenter:
        np.testing.assert_array_equal(segmenter(scene, ["red", "green"]).masks, expected)
    with pytest.raises(BundleError, match=r"text_tokens\.safetensors in .* is damaged"):
        Segmenter.load(folder)
