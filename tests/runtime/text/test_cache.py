from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsclip_runtime import Bundle, OptionError, Segmenter
from clsclip_runtime.text import cache as word_cache
from clsclip_runtime.text.cache import WordCache
from clsclip_runtime.text.encoded import EncodedWord
from tests.runtime.test_segmenter import CountingBackend
from tests.runtime.tiny_bundle import make_bundle


def encoded(segmenter: Segmenter, words: list[str]) -> Any:
    return segmenter._graphs().text.encode(words)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_word_is_encoded_once_by_all_processes(bundle: Path, tmp_path: Path) -> None:
    long = "table " * 9
    backend = CountingBackend()
    first = encoded(Segmenter(Bundle.open(bundle), backend, word_cache=tmp_path), ["red", long, "green"])
    other = CountingBackend()
    again = Segmenter(Bundle.open(bundle), other, word_cache=tmp_path)
    second = encoded(again, ["green", "red", long, "blue"])
    assert backend.rows["text_encoder"] == 3
    assert other.rows["text_encoder"] == 1, "blue alone is new"
    assert (second.tokens[:3] == first.tokens[[2, 0, 1]]).all()
    assert (second.features[:3] == first.features[[2, 0, 1]]).all()
    assert second.truncated == (long,)
    assert all(path.suffix == ".safetensors" for path in files(tmp_path))


def test_other_encoders_have_other_words(bundle: Path, tmp_path: Path) -> None:
    """Templates, tokenizer, weights and engine all count."""
    encoded(Segmenter(Bundle.open(bundle), CountingBackend(), word_cache=tmp_path / "cache"), ["red"])
    templates = make_bundle(tmp_path / "templates", templates=("a {}",))
    weights = make_bundle(tmp_path / "weights", word_colours={"red": (0.5, 0.0, 0.0)})
    engine = CountingBackend()
    engine.name = "another"
    for folder, backend in ((templates, CountingBackend()), (weights, CountingBackend()), (bundle, engine)):
        encoded(Segmenter(Bundle.open(folder), backend, word_cache=tmp_path / "cache"), ["red"])
        assert backend.rows["text_encoder"] == 1
    assert len(files(tmp_path / "cache")) == 4


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "nan", "shape"])
def test_damaged_files_are_told_and_written_again(
    bundle: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = encoded(Segmenter(Bundle.open(bundle), CountingBackend(), word_cache=tmp_path), ["red", "green"])
    (path,) = files(tmp_path)
    content = path.read_bytes()
    if damage in ("nan", "shape"):
        wrong = EncodedWord(np.full(3, np.nan if damage == "nan" else 0, np.float32), np.zeros(3, np.float32), False)
        path.unlink()
        WordCache(path.parent)._add({"red": wrong})
        if damage == "shape":
            WordCache(path.parent)._add({"red": EncodedWord(np.zeros(4, np.float32), np.zeros(3, np.float32), False)})
            files(tmp_path)[0].touch()
    else:
        path.write_bytes({"cut": content[:-5], "noise": b"\xff" * 64, "empty": b""}[damage])
    backend = CountingBackend()
    with caplog.at_level(logging.WARNING, logger="clsclip_runtime"):
        found = encoded(Segmenter(Bundle.open(bundle), backend, word_cache=tmp_path), ["red", "green"])
    assert "is damaged" in caplog.text
    if damage != "shape":
        assert (found.tokens == expected.tokens).all()
        assert backend.rows["text_encoder"] == 2
    last = CountingBackend()
    encoded(Segmenter(Bundle.open(bundle), last, word_cache=tmp_path), ["red", "green"])
    assert last.rows["text_encoder"] == 0


def words_of(count: int, start: int = 0) -> dict[str, EncodedWord]:
    return {
        f"w{at}": EncodedWord(np.full(5, at, np.float32), np.full(2, -at, np.float32), at % 3 == 0)
        for at in range(start, start + count)
    }


def test_many_small_files_become_one(tmp_path: Path) -> None:
    cache, late = WordCache(tmp_path / "a"), WordCache(tmp_path / "a")
    for at in range(40):
        cache.write(words_of(1, at))
        if at == 10:
            assert late.read(["w0"])
    assert len(files(tmp_path)) <= 17
    for reader in (cache, late, WordCache(tmp_path / "a")):
        found = reader.read([f"w{at}" for at in range(40)])
        assert len(found) == 40
        assert all((found[f"w{at}"].token == at).all() for at in range(40))
        assert [found[f"w{at}"].truncated for at in range(4)] == [True, False, False, True]


def test_the_size_is_bounded_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MAX_BYTES", 20_000)
    for at in range(12):
        WordCache(tmp_path / f"encoder{at % 3}").write(words_of(100, 100 * at))
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 20_000
    assert not WordCache(tmp_path / "encoder0").read(["w0"])
    assert WordCache(tmp_path / "encoder2").read(["w1100"])


def test_processes_that_write_together_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from clsclip_runtime.text.cache import WordCache; from clsclip_runtime.text.encoder import EncodedWord\n"
        "for at in range(25):\n"
        "    one = np.full(3, at, np.float32)\n"
        "    WordCache(Path(sys.argv[1])).write({f'{sys.argv[2]}{at}': EncodedWord(one, one, False)})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a"), name]) for name in "xyz"]
    assert [one.wait() for one in running] == [0, 0, 0]
    found = WordCache(tmp_path / "a").read([f"{name}{at}" for name in "xyz" for at in range(25)])
    assert len(found) == 75
    assert all(path.suffix == ".safetensors" for path in files(tmp_path))


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "words").write_text("a file where the folder would be", encoding="utf-8")
    segmenter = Segmenter(Bundle.open(bundle), CountingBackend(), word_cache=tmp_path)
    assert len(encoded(segmenter, ["red"]).tokens) == 1
    assert "cannot be kept" in caplog.text


def test_where_it_is(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Bundle.open(bundle)
    monkeypatch.delenv("CLSCLIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "xdg"))
    encoded(Segmenter(opened, CountingBackend()), ["red"])
    assert len(files(tmp_path / "xdg" / "clsclip" / "words")) == 1
    monkeypatch.setenv("CLSCLIP_CACHE", str(tmp_path / "own"))
    encoded(Segmenter(opened, CountingBackend()), ["red"])
    assert len(files(tmp_path / "own" / "words")) == 1
    monkeypatch.setenv("CLSCLIP_CACHE", "off")
    assert WordCache.of(opened, "x") is None
    assert WordCache.of(opened, "x", False) is None
    assert WordCache.of(opened, "x", tmp_path) is not None


def test_what_is_no_folder_is_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="word_cache must be a folder"):
        Segmenter.load(bundle, word_cache=tmp_path / "file")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(OptionError, match="pip install safetensors"):
        Segmenter.load(bundle, word_cache=tmp_path)
    monkeypatch.setenv("CLSCLIP_CACHE", str(tmp_path))
    with Segmenter.load(bundle) as segmenter:
        assert encoded(segmenter, ["red"]).tokens.shape == (1, 3)
