from __future__ import annotations

import logging
import random
import sqlite3
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsclip_runtime import Bundle, OptionError, Segmenter
from clsclip_runtime._types import Floats, Integers
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.bundle.opening import TEXT_ENCODER
from clsclip_runtime.bundle.specs import FeatureSpec
from clsclip_runtime.protocols import Graph
from clsclip_runtime.text import cache as word_cache
from clsclip_runtime.text.cache import WordCache
from clsclip_runtime.text.encoded import EncodedWord
from clsclip_runtime.text.encoder import TextEncoder
from tests.runtime.text.words_on_disk import FEATURES, cache_in, check, files, word, words_of
from tests.runtime.tiny_bundle import make_bundle, paint


class Counting(TextEncoder):
    """A bundle's text encoder that counts the rows that its graph ran on."""

    rows = 0

    @classmethod
    def of(cls, bundle: Path, folder: Path | None, engine: str = "counting") -> Counting:
        opened = Bundle.open(bundle)
        graph = OnnxRuntimeCpu(threads=1).load(opened.graph(TEXT_ENCODER))
        return cls.from_bundle(opened, graph, on_disk=WordCache.from_bundle(opened, engine, folder))

    def _run(self, graph: Graph, token_ids: Integers) -> dict[str, Floats]:
        self.rows += len(token_ids)
        return super()._run(graph, token_ids)


def test_a_word_is_encoded_once_by_all_processes(bundle: Path, tmp_path: Path) -> None:
    long = "table " * 9
    one, other = Counting.of(bundle, tmp_path), Counting.of(bundle, tmp_path)
    first, second = one.encode(["red", long, "green"]), other.encode(["green", "red", long, "blue"])
    assert one.rows == 3
    assert other.rows == 1, "blue alone is new"
    for name in ("text_tokens", "text_features"):
        assert (second.arrays[name][:3] == first.arrays[name][[2, 0, 1]]).all()
    assert second.truncated == (long,)
    assert second.notes == ()
    (path,) = files(tmp_path)
    assert path.suffix == ".sqlite"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_other_encoders_have_other_words(bundle: Path, tmp_path: Path) -> None:
    """Templates, tokenizer, weights, features and engine all count."""
    cache = tmp_path / "cache"
    Counting.of(bundle, cache).encode(["red"])

    def not_unit(manifest: dict[str, Any]) -> None:
        manifest["text"] |= {"matching": None}
        manifest["text"]["features"][1]["unit_norm"] = False

    templates = make_bundle(tmp_path / "templates", templates=("a {}",))
    weights = make_bundle(tmp_path / "weights", word_colours={"red": (0.5, 0.0, 0.0)})
    features = make_bundle(tmp_path / "features", edit=not_unit)
    for folder, engine in ((templates, "counting"), (weights, "counting"), (features, "counting"), (bundle, "other")):
        text = Counting.of(folder, cache, engine)
        text.encode(["red"])
        assert text.rows == 1
    assert len(files(cache)) == 5


def test_arrays_of_any_shape(tmp_path: Path) -> None:
    cache_in(tmp_path).write(words_of(5))
    cache_in(tmp_path).write(words_of(3, 4))
    check(cache_in(tmp_path).read([f"w{at}" for at in range(9)]), words_of(7))
    assert cache_in(tmp_path, "another").read(["w0"]) == {}
    many = words_of(1200)
    cache_in(tmp_path).write(many)
    check(cache_in(tmp_path).read(list(many)), many)


def test_values_are_stored_as_little_endian_floats(tmp_path: Path) -> None:
    cache_in(tmp_path).write({"dog": word(2)})
    with sqlite3.connect(files(tmp_path)[0]) as connection:
        ((content,),) = connection.execute("SELECT arrays FROM words WHERE word = 'dog'").fetchall()
    connection.close()
    expected = [2, 2.125, 2.25, 2.375, 2.5, 2.625, 2, 2, 2, 2, 2]
    assert np.frombuffer(content, "<f4").tolist() == expected


@pytest.mark.parametrize("damage", ["cut", "noise", "middle", "text"])
def test_damaged_files_are_told_and_written_again(
    bundle: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    many = [f"word {at}" for at in range(400)]
    expected = Counting.of(bundle, tmp_path).encode(many)
    (path,) = files(tmp_path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "noise": b"\xff" * 64,
            "middle": content[:4096] + b"\xa5" * (len(content) - 4096),
            "text": b"words\n" * 400,
        }[damage]
    )
    text = Counting.of(bundle, tmp_path)
    with caplog.at_level(logging.WARNING, logger="clsclip_runtime"):
        found = text.encode(many)
    assert len([one for one in caplog.messages if "were damaged" in one]) == 1
    assert len(found.notes) == 1
    assert "were damaged" in found.notes[0]
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert text.rows == 400
    last = Counting.of(bundle, tmp_path)
    assert last.encode(many).notes == ()
    assert last.rows == 0
    assert len(files(tmp_path)) == 1, "the damaged file is gone"


def test_bytes_changed_at_random_never_change_a_word(tmp_path: Path) -> None:
    cache_in(tmp_path / "good").write(words_of(60))
    content = files(tmp_path / "good")[0].read_bytes()
    chance = random.Random(0)
    lost = 0
    for at in range(40):
        changed = bytearray(content)
        for _ in range(chance.choice([1, 1, 20])):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "key.0.sqlite").write_bytes(changed)
        cache = cache_in(folder)
        found = cache.read([f"w{at}" for at in range(60)])
        check(found, {name: one for name, one in words_of(60).items() if name in found})
        lost += len(found) < 60
        cache.write({"new": word(1)})
        cache.write({"new": word(1)})
    assert lost > 5


def test_an_empty_file_is_an_empty_cache(tmp_path: Path) -> None:
    (tmp_path / "key.0.sqlite").touch()
    cache = cache_in(tmp_path)
    assert cache.read(["w0"]) == {}
    cache.write(words_of(1))
    check(cache.read(["w0"]), words_of(1))
    assert cache.take_notes() == ()


@pytest.mark.parametrize("wrong", ["nan", "shape", "layout", "checksum", "length", "type"])
def test_entries_that_do_not_fit_are_left_out(tmp_path: Path, wrong: str) -> None:
    cache = cache_in(tmp_path)
    if wrong == "nan":
        bad = word(1)
        bad.arrays["vector"][2] = np.nan
        cache.write({"bad": bad, "w2": word(2)})
    elif wrong == "shape":
        turned = (FeatureSpec("sequence", (2, 3), "float32", ("trunk",)), *FEATURES[1:])
        WordCache(tmp_path, "key", turned).write({"bad": EncodedWord(dict(word(1).arrays), False)})
    else:
        cache.write({"bad": word(1)})
        change = {
            "layout": "layout = '[]'",
            "checksum": "truncated = 1 - truncated",
            "length": "arrays = substr(arrays, 1, 40)",
            "type": "arrays = 7",
        }[wrong]
        connection = sqlite3.connect(files(tmp_path)[0])
        connection.execute(f"UPDATE words SET {change} WHERE word = 'bad'")
        connection.commit()
        connection.close()
    cache.write({"w2": word(2)})
    check(cache.read(["bad", "w2"]), {"w2": word(2)})
    cache.write({"bad": word(4)})
    check(cache.read(["bad"]), {"bad": word(4)})
    assert cache.take_notes() == ()


def test_the_size_is_bounded_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 200_000
    monkeypatch.setattr(word_cache, "MAX_BYTES", limit)
    folder = tmp_path / "words"
    for at in range(24):
        cache_in(folder, f"encoder{at % 3}").write(words_of(100, 100 * at))
        assert sum(path.stat().st_size for path in files(folder)) <= limit
        there = cache_in(folder, f"encoder{at % 3}").read([f"w{100 * at}", f"w{100 * at + 99}"])
        assert len(there) == 2, "the newest stay"
    assert sum(path.stat().st_size for path in files(folder)) > limit // 2
    kept = [len(cache_in(folder, f"encoder{at % 3}").read([f"w{100 * at + 50}"])) for at in range(24)]
    assert kept == sorted(kept), "an older word goes before a younger one, whatever its encoder"
    assert 0 < sum(kept) < 24


def test_damaged_files_of_other_encoders_count_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MAX_BYTES", 100_000)
    (tmp_path / "other.0.sqlite").write_bytes(b"\xff" * 200_000)
    cache_in(tmp_path).write(words_of(5))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 100_000
    check(cache_in(tmp_path).read([f"w{at}" for at in range(5)]), words_of(5))


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "words").write_text("a file where the folder would be", encoding="utf-8")
    with Segmenter.load(bundle, word_cache=tmp_path) as segmenter:
        first, second = (segmenter(paint({}), [name]) for name in ("red", "green"))
    assert len([note for note in first.notes if "cannot be kept" in note]) == 1
    assert "kept in memory alone" in caplog.text
    assert second.notes == []
    assert caplog.text.count("cannot be kept") == 1


def test_where_it_is(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Bundle.open(bundle)
    monkeypatch.delenv("CLSCLIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "xdg"))
    Counting.of(bundle, None).encode(["red"])
    assert len(files(tmp_path / "xdg" / "clsclip" / "words")) == 1
    monkeypatch.setenv("CLSCLIP_CACHE", str(tmp_path / "own"))
    Counting.of(bundle, None).encode(["red"])
    assert len(files(tmp_path / "own" / "words")) == 1
    monkeypatch.setenv("CLSCLIP_CACHE", "off")
    assert WordCache.from_bundle(opened, "x") is None
    assert WordCache.from_bundle(opened, "x", False) is None
    assert WordCache.from_bundle(opened, "x", tmp_path) is not None


def test_what_is_no_folder_is_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="word_cache must be a folder"):
        Segmenter.load(bundle, word_cache=tmp_path / "file")
    monkeypatch.setenv("CLSCLIP_CACHE", str(tmp_path / "file"))
    with pytest.raises(OptionError, match=r"^CLSCLIP_CACHE is .*file, which is no folder"):
        Segmenter.load(bundle)
    monkeypatch.setitem(sys.modules, "clsclip_runtime.text.database", None)
    with pytest.raises(OptionError, match="a Python that has sqlite3"):
        Segmenter.load(bundle, word_cache=tmp_path)
    monkeypatch.setenv("CLSCLIP_CACHE", str(tmp_path))
    with Segmenter.load(bundle) as segmenter:
        assert segmenter(paint({}), ["red"]).notes == []
