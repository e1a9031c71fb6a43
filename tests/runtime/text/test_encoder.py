"""Words to features of any names and shapes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime.arrays import Arrays
from clsclip_runtime.bundle.specs import FeatureSpec
from clsclip_runtime.errors import BackendError, BundleError, WordError
from clsclip_runtime.text.encoded import EncodedWords
from clsclip_runtime.text.encoder import TextEncoder
from clsclip_runtime.text.stored import StoredWords
from tests.runtime.tiny_bundle import CONTEXT, VOCABULARY, tokenizer

SEQUENCE = FeatureSpec("sequence", (CONTEXT, 2), "float32", ("trunk",))
VECTOR = FeatureSpec("vector", (3,), "float32", ("trunk",))
UNIT = FeatureSpec("unit", (3,), "float32", ("presence",), unit_norm=True)
SCORE = FeatureSpec("score", (), "float32", ("trunk",))
TABLE = np.random.default_rng(0).normal(size=(len(VOCABULARY), 3)).astype(np.float32)


class TableGraph:
    """Features by their definition: a row of a table for every token."""

    inputs, outputs = ("token_ids",), ("sequence", "vector", "unit", "score", "more")

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.change: dict[str, Any] = {}

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        ids = np.asarray(feeds["token_ids"])
        assert ids.dtype == np.int64
        assert ids.shape[1] == CONTEXT
        self.rows.append(len(ids))
        embedded = TABLE[ids]
        found = {
            "sequence": embedded[:, :, :2],
            "vector": embedded.sum(axis=1),
            "unit": embedded.mean(axis=1),
            "score": embedded[:, 1, 0],
            "more": embedded,
        }
        return {name: value for name, value in (found | self.change).items() if value is not None}


def make(features: tuple[FeatureSpec, ...], graph: TableGraph | None = None, **options: Any) -> TextEncoder:
    if graph is not None:
        options |= {"tokenizer": tokenizer(), "graph": graph}
    return TextEncoder(features, context_length=CONTEXT, **options)


def ids_of(text: str) -> list[int]:
    """Start, the known words, end, padding: how the tiny tokenizer is defined."""
    words = [VOCABULARY.get(word, VOCABULARY["[UNK]"]) for word in text.lower().split()][: CONTEXT - 2]
    ids = [VOCABULARY["[START]"], *words, VOCABULARY["[END]"]]
    return ids + [VOCABULARY["[PAD]"]] * (CONTEXT - len(ids))


def test_features_of_any_shape_have_the_words_on_their_first_axis() -> None:
    words = ["red", "dining table", "blue"]
    encoded = make((SEQUENCE, VECTOR, UNIT, SCORE), TableGraph()).encode(words)
    assert encoded.words == tuple(words)
    assert {name: array.shape for name, array in encoded.arrays.items()} == {
        "sequence": (3, CONTEXT, 2),
        "vector": (3, 3),
        "unit": (3, 3),
        "score": (3,),
    }
    for at, word in enumerate(words):
        rows = TABLE[ids_of(word)]
        assert encoded.arrays["sequence"][at] == pytest.approx(rows[:, :2])
        assert encoded.arrays["vector"][at] == pytest.approx(rows.sum(axis=0), rel=1e-5)
        assert encoded.arrays["unit"][at] == pytest.approx(rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0)))
        assert encoded.arrays["score"][at] == pytest.approx(rows[1, 0])
    assert all(array.dtype == np.float32 for array in encoded.arrays.values())


def test_vectors_are_averaged_over_templates_and_then_of_unit_length() -> None:
    templates = ("{}", "a picture of {}", "{} table")
    encoded = make((VECTOR, UNIT), TableGraph(), templates=templates).encode(["red", "blue"])
    for at, word in enumerate(["red", "blue"]):
        rows = np.stack([TABLE[ids_of(one.replace("{}", word))] for one in templates]).astype(np.float64)
        assert encoded.arrays["vector"][at] == pytest.approx(rows.sum(axis=1).mean(axis=0), rel=1e-5)
        mean = rows.mean(axis=1).mean(axis=0)
        assert encoded.arrays["unit"][at] == pytest.approx(mean / np.linalg.norm(mean), rel=1e-4)


def test_rows_of_a_call_fit_into_memory() -> None:
    words = [f"word {at}" for at in range(7)]
    expected = make((VECTOR,), TableGraph(), templates=("{}", "a {}", "of {}")).encode(words)
    for word_bytes, most in ((1 << 20, 4), (3 << 19, 2), (1 << 30, 1), (0, 21)):
        graph = TableGraph()
        text = make((VECTOR,), graph, templates=("{}", "a {}", "of {}"), word_bytes=word_bytes, memory_mb=4)
        np.testing.assert_array_equal(text.encode(words).arrays["vector"], expected.arrays["vector"])
        assert max(graph.rows) <= most
        assert sum(graph.rows) == 21
    graph = TableGraph()
    make((VECTOR,), graph).encode([f"word {at}" for at in range(600)])
    assert graph.rows == [256, 256, 88]


def test_words_are_kept_until_they_take_too_many_bytes() -> None:
    graph = TableGraph()
    size = 4 * CONTEXT * 2 + 512
    text = make((SEQUENCE,), graph, cached_bytes=3 * size)
    text.encode(["a", "b", "c"])
    text.encode(["a"])
    text.encode(["d"])
    assert list(text._cache) == ["c", "a", "d"]
    assert text._cache.nbytes == 3 * size
    text.encode(["c", "a", "d"])
    assert sum(graph.rows) == 4
    assert text.encode([f"w{at}" for at in range(10)]).arrays["sequence"].shape == (10, CONTEXT, 2)
    assert len(text._cache) == 3
    none = make((SEQUENCE,), graph, cached_bytes=0)
    none.encode(["a"])
    assert len(none._cache) == 0
    assert none._cache.nbytes == 0


def test_a_kept_word_holds_its_own_memory_alone() -> None:
    text = make((SEQUENCE, VECTOR), TableGraph())
    text.encode([f"w{at}" for at in range(100)])
    for array in text._cache.find(["w7"])["w7"].arrays.values():
        assert array.base is None or array.base.nbytes == array.nbytes


def test_a_word_that_comes_twice_is_encoded_once() -> None:
    graph = TableGraph()
    encoded = make((VECTOR,), graph).encode(["red", "red", "blue", "red"])
    assert graph.rows == [2]
    assert (encoded.arrays["vector"][[0, 1, 3]] == encoded.arrays["vector"][0]).all()
    assert make((VECTOR, SCORE), graph).encode([]).arrays["vector"].shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vector": np.zeros((2, 4), np.float32)}, r"gave shape \(2, 4\) for vector, and \(2, 3\) was expected"),
        ({"vector": np.zeros((3, 3), np.float32)}, r"gave shape \(3, 3\) for vector"),
        ({"vector": None}, "gave nothing for vector"),
        ({"vector": np.array([[0, 0, 0], [0, np.nan, 0]], np.float32)}, r"NaN or infinity \(vector\) .* 'blue'"),
        ({"score": np.array([np.inf, 0], np.float32)}, r"NaN or infinity \(score\) .* 'red'"),
    ],
)
def test_what_the_graph_gives_is_checked(change: dict[str, Any], message: str) -> None:
    graph = TableGraph()
    graph.change = change
    text = make((VECTOR, SCORE), graph)
    with pytest.raises(BackendError, match=message):
        text.encode(["red", "blue"])
    graph.change = {}
    assert text.encode(["red", "blue"]).arrays["vector"].shape == (2, 3)
    assert graph.rows == [2, 2], "nothing of the failed call was kept"


def test_half_floats_become_floats() -> None:
    graph = TableGraph()
    graph.change = {"vector": np.full((1, 3), 0.5, np.float16)}
    found = make((VECTOR,), graph).encode(["red"]).arrays["vector"]
    assert found.dtype == np.float32
    assert found.tolist() == [[0.5, 0.5, 0.5]]


def test_words_that_are_cut_off() -> None:
    long = "table " * 9
    text = make((VECTOR,), TableGraph(), templates=("{}", "a picture of {}"))
    assert text.encode(["red", long, "blue"]).truncated == (long,)
    assert text.encode([long]).truncated == (long,)


def stored() -> StoredWords:
    arrays = {"vector": np.arange(6, dtype=np.float32).reshape(2, 3), "score": np.array([7, 8], np.float32)}
    return StoredWords(["red", "hot dog"], arrays, truncated=["hot dog"])


def test_stored_words_come_first() -> None:
    graph = TableGraph()
    encoded = make((VECTOR, SCORE), graph, stored=stored()).encode(["blue", "hot dog", "red"])
    assert graph.rows == [1]
    assert encoded.arrays["vector"][1:].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert encoded.arrays["score"][1:].tolist() == [8, 7]
    assert encoded.truncated == ("hot dog",)
    assert encoded.arrays["vector"][0] == pytest.approx(TABLE[ids_of("blue")].sum(axis=0), rel=1e-5)


def test_without_a_graph_unknown_words_are_refused() -> None:
    text = make((VECTOR, SCORE), stored=stored())
    assert text.encode(["hot dog"]).arrays["vector"].tolist() == [[3, 4, 5]]
    assert text.knows("red")
    assert not text.knows("Red")
    with pytest.raises(WordError) as caught:
        text.encode(["red", "cat", "dog"])
    assert str(caught.value) == (
        "the bundle knows 2 words and 'cat' is not among them. It knows: red, hot dog. Export it with a text encoder, "
        "or with this word in --classes-file"
    )
    many = StoredWords([f"w{at}" for at in range(1025)], {"score": np.zeros(1025, np.float32)})
    with pytest.raises(WordError, match=r"knows 1,025 words .* w18, w19 and 1,005 more\. Export"):
        make((SCORE,), stored=many).encode(["cat"])


def test_a_graph_needs_a_tokenizer() -> None:
    with pytest.raises(BundleError, match=r"no tokenizer\.json"):
        TextEncoder((VECTOR,), context_length=CONTEXT, graph=TableGraph())


def test_part_takes_words_with_their_arrays_and_what_was_cut_off() -> None:
    arrays = {"vector": np.arange(12, dtype=np.float32).reshape(4, 3), "score": np.arange(4, dtype=np.float32)}
    words = EncodedWords(("a", "b", "c", "d"), arrays, ("b", "d"))
    part = words.part(slice(1, 3))
    assert (part.words, part.truncated) == (("b", "c"), ("b",))
    assert part.arrays["vector"].tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.arrays["score"].tolist() == [1, 2]
    assert np.shares_memory(part.arrays["vector"], arrays["vector"])


def test_threads_encode_every_word_once() -> None:
    graph = TableGraph()
    text = make((VECTOR,), graph)
    words = [f"word {at}" for at in range(40)]
    expected = make((VECTOR,), TableGraph()).encode(words).arrays["vector"]
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        start.wait()
        order = np.random.default_rng(number).permutation(40)
        return bool((text.encode([words[at] for at in order]).arrays["vector"] == expected[order]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert sum(graph.rows) == 40
