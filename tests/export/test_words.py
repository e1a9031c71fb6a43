"""Words in a bundle: what a runtime without text encoder finds is what the text encoder gives, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

from clsclip_export.cli import command
from clsclip_export.cli.options import read_classes
from clsclip_export.words import add_words
from clsclip_runtime import Bundle, OptionError, OutputError, Segmenter, WordError
from tests.runtime.tiny_bundle import make_bundle, paint

WORDS = ("red", "dining table", "blue")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.clsclip", templates=("a picture of {}", "{}"))


def document_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return found


def logits(folder: Path, words: tuple[str, ...] = WORDS) -> npt.NDArray[np.float32]:
    image = paint({"red": (slice(1, 4), slice(1, 5)), "blue": (slice(5, 7), slice(2, 4))})
    with Segmenter.load(folder, threads=1, word_cache=False) as segmenter:
        result = segmenter(image, words, presence_threshold=0)
        return np.concatenate([result.logits.ravel(), [result[word].presence for word in words]])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


@pytest.mark.parametrize("text_encoder", [True, False])
def test_stored_words_draw_the_same(bundle: Path, tmp_path: Path, text_encoder: bool) -> None:
    out = tmp_path / "out.clsclip"
    add_words(bundle, out, WORDS, text_encoder=text_encoder)
    np.testing.assert_array_equal(logits(out), logits(bundle))
    before, after = document_of(bundle), document_of(out)
    files = {*before["files"], "text_tokens.safetensors"}
    assert set(after["files"]) == (files if text_encoder else files - {"text_encoder.onnx", "tokenizer.json"})
    assert after["memory"]["word_bytes"] == (before["memory"]["word_bytes"] if text_encoder else 0)
    assert {**after, "files": 0, "memory": 0, "graphs": 0} == {**before, "files": 0, "memory": 0, "graphs": 0}


def test_stored_words_are_looked_up_first(bundle: Path, tmp_path: Path) -> None:
    """A text encoder that knows other colors changes nothing for words that are stored."""
    out = tmp_path / "out.clsclip"
    add_words(bundle, out, ("red",))
    stored = (out / "text_tokens.safetensors").read_bytes()
    other = make_bundle(
        tmp_path / "other.clsclip",
        templates=("a picture of {}", "{}"),
        word_colours={"red": (0.0, 1.0, 0.0), "blue": (0.0, 1.0, 0.0)},
    )
    add_words(other, out, ("red",), force=True)
    assert (out / "text_tokens.safetensors").read_bytes() != stored
    (other / "text_tokens.safetensors").write_bytes(stored)
    document = document_of(other)
    from clsclip_runtime.bundle.folder import file_entries

    document["files"] = file_entries(other)
    (other / "manifest.json").write_text(json.dumps(document), "utf-8")
    np.testing.assert_array_equal(logits(other, ("red",)), logits(bundle, ("red",)))
    assert not np.array_equal(logits(other, ("blue",)), logits(bundle, ("blue",)))


def test_unknown_words_are_refused_with_those_that_are_known(bundle: Path, tmp_path: Path) -> None:
    add_words(bundle, tmp_path / "out.clsclip", WORDS, text_encoder=False)
    with pytest.raises(
        WordError, match=r"knows 3 words and 'green' is not among them. It knows: red, dining table, blue"
    ):
        logits(tmp_path / "out.clsclip", ("red", "green"))


def test_the_command(bundle: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# colors\nred\n\n dining  table\nblue\nred\n", "utf-8")
    out = tmp_path / "out.clsclip"
    done = run("--from-bundle", bundle, "--classes-file", words, "--no-text-encoder", "--out", out)
    assert done.exit_code == 0, done.output
    assert "it knows 3 words" in done.output
    assert "text_encoder.onnx" not in Bundle.open(out).manifest.files
    np.testing.assert_array_equal(logits(out), logits(bundle))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.clsclip", "tiny.clsclip", "words.txt"]


def test_what_cannot_be(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.clsclip"
    with pytest.raises(OptionError, match="knows no word"):
        add_words(bundle, out, (), text_encoder=False)
    add_words(bundle, out, WORDS, text_encoder=False)
    with pytest.raises(OutputError, match="--force"):
        add_words(bundle, out, WORDS)
    with pytest.raises(OptionError, match="no text encoder"):
        add_words(out, tmp_path / "more.clsclip", ("green",))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.clsclip", "tiny.clsclip"]


def test_files_of_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    for content, message in (
        (b"", "holds no word"),
        (b"# a\n\n", "holds no word"),
        (b"\xff", "not UTF-8"),
        (b"a\0\n", "control character"),
    ):
        path.write_bytes(content)
        with pytest.raises(WordError, match=message):
            read_classes(path)
    with pytest.raises(WordError, match="cannot read"):
        read_classes(tmp_path / "gone.txt")
    path.write_bytes("\ufeffdog\n犬\n".encode())
    assert read_classes(path) == ("dog", "犬")
