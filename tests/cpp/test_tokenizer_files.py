"""Tokenizer files that the C++ runtime refuses, with Python's reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsclip_runtime.bundle.opening import EMBEDDED
from clsclip_runtime.errors import BundleError
from clsclip_runtime.text.tokenizer_file import read_tokenizer
from tests.cpp.parts import Parts, PartsError


def small_document() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((EMBEDDED / "tokenizer.json").read_text())
    data["model"]["merges"] = data["model"]["merges"][:5]
    return data


def changed(*path: str | int, to: Any = None, drop: bool = False) -> dict[str, Any]:
    """The document with one value replaced or dropped."""
    data = small_document()
    holder: Any = data
    for key in path[:-1]:
        holder = holder[key]
    if drop:
        del holder[path[-1]]
    else:
        holder[path[-1]] = to
    return data


VOCABULARY = small_document()["model"]["vocab"]
SIZE, START, END = len(VOCABULARY), VOCABULARY["<start>"], VOCABULARY["<end>"]

REFUSED = {
    "model missing": (changed("model", drop=True), "'model' is missing"),
    "model of words": (changed("model", "type", to="WordPiece"), 'does not know the model "WordPiece"'),
    "no vocabulary": (changed("model", "vocab", to=[]), "'vocab' must be an object"),
    "number of a token": (changed("model", "vocab", "a", to=-1), "'vocab' must be a whole number"),
    "fraction": (changed("model", "vocab", "a", to=1.5), "'vocab' must be a whole number"),
    "huge number": (changed("model", "vocab", "a", to=2**70), "is too large for 64 bits"),
    "merge of nothing": (changed("model", "merges", 0, to=["zz", "a"]), "merge number 0 needs a token"),
    "merge to nothing": (changed("model", "merges", 0, to=["!", "~"]), "merge number 0 needs a token"),
    "merge of three": (changed("model", "merges", 0, to="a b c"), "'merges' must be pairs"),
    "merge of numbers": (changed("model", "merges", 0, to=[1, 2]), "'merges' must be pairs"),
    "unknown token": (changed("model", "unk_token", to="<none>"), "token for unknown characters is not"),
    "dropout": (changed("model", "dropout", to=0.1), "does not know dropout"),
    "byte fallback": (changed("model", "byte_fallback", to=True), "byte_fallback"),
    "normaliser": (changed("normalizer", "normalizers", 0, to={"type": "NFKC"}), 'the normalizer "NFKC"'),
    "normaliser's pattern": (
        changed("normalizer", "normalizers", 1, "pattern", "Regex", to="(a+)+"),
        "the pattern of a",
    ),
    "normaliser of a text": (changed("normalizer", to="NFC"), "an object with 'type' was expected"),
    "pre-tokenizer": (changed("pre_tokenizer", to={"type": "Metaspace"}), 'the pre-tokenizer "Metaspace"'),
    "split": (
        changed(
            "pre_tokenizer", to={"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Removed", "invert": True}
        ),
        "the pattern of a split",
    ),
    "flag": (changed("pre_tokenizer", "use_regex", to="yes"), "'use_regex' must be true or false"),
    "post-processor": (changed("post_processor", "type", to="BertProcessing"), "the post-processor"),
    "template": (changed("post_processor", "single", 1, to={"Sequence": {"id": "B"}}), "must hold that text once"),
    "template's token": (changed("post_processor", "special_tokens", to={}), "'<start>' is missing"),
    "added": (changed("added_tokens", 0, "id", to=77), "has the number 77, and by the vocabulary it is 0"),
    "added word": (changed("added_tokens", 0, "single_word", to=True), "added tokens with single_word"),
    "added twice": (changed("added_tokens", 0, "content", to="<end>"), "comes twice|by the vocabulary"),
    "list": ([], "an object with 'normalizer' was expected"),
    "number": (3, "an object with 'normalizer' was expected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_with_its_reason(parts: Parts, name: str) -> None:
    document, message = REFUSED[name]
    with pytest.raises(PartsError, match=message) as caught:
        parts("read_tokenizer", document=json.dumps(document))
    assert caught.value.kind == "BundleError"
    assert str(caught.value).startswith("tokenizer.json is not a usable tokenizer: ")
    assert str(caught.value).endswith("Export the bundle again")


@pytest.mark.parametrize(
    ("tokens", "taken"),
    [
        ([], True),
        ([("<start>", START), ("<end>", END)], True),
        ([("<start>", END)], False),
        ([("<start>", START), ("<start>", START)], False),
        ([("new", SIZE)], True),
        ([("new", SIZE), ("newer", SIZE + 1)], True),
        ([("new", SIZE), ("<end>", END), ("newer", SIZE + 1)], True),
        ([("new", SIZE), ("newer", SIZE)], False),
        ([("new", SIZE + 1), ("newer", SIZE)], False),
        ([("new", START)], False),
        ([("new", -1)], False),
    ],
)
def test_added_tokens_have_the_numbers_that_the_library_gives_them(
    parts: Parts, tokens: list[tuple[str, int]], taken: bool
) -> None:
    """In both runtimes: that of the vocabulary, else the next one."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    document = changed("added_tokens", to=[{"id": number, "content": name} | flags for name, number in tokens])
    text = json.dumps(document)
    if taken:
        parts("read_tokenizer", document=text)
        found = read_tokenizer(text.encode())
        assert [found.token_to_id(name) for name, _ in tokens] == [number for _, number in tokens]
        return
    with pytest.raises(PartsError, match=r"tokenizer\.json is not a usable tokenizer"):
        parts("read_tokenizer", document=text)
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a usable tokenizer"):
        read_tokenizer(text.encode())


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 200_000, '{"a":' * 100_000, "\x00", "{}", "null", '{"model": "\ud800"}']
)
def test_what_is_no_tokenizer_is_refused(parts: Parts, text: str) -> None:
    with pytest.raises(PartsError) as caught:
        parts("read_tokenizer_bytes", bytes=list(text.encode("utf-8", "surrogatepass")))
    assert caught.value.kind == "BundleError"


@pytest.mark.parametrize(
    ("part", "step", "count", "message"),
    [
        (
            "pre_tokenizer",
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            17,
            "more than 16 steps",
        ),
        (
            "normalizer",
            {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 200},
            16,
            "make a short text endless",
        ),
    ],
)
def test_steps_that_fill_the_memory_are_stopped(
    parts: Parts, tmp_path: Path, part: str, step: Any, count: int, message: str
) -> None:
    document = small_document()
    name = "pretokenizers" if part == "pre_tokenizer" else "normalizers"
    document[part] = {"type": "Sequence", name: [step] * count}
    (tmp_path / "grows.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(PartsError, match=message) as caught:
        parts("encode", file=str(tmp_path / "grows.json"), texts=["a b é"])
    assert caught.value.kind == "BundleError"


@settings(max_examples=80)
@given(st.data())
def test_damaged_documents_never_end_the_program(parts: Parts, data: st.DataObject) -> None:
    """Values anywhere in the document become others; the answer is an error or a tokenizer."""
    document = small_document()
    document["model"]["vocab"] = dict(list(document["model"]["vocab"].items())[:300])
    junk = st.sampled_from(
        ["null", "true", "-1", "0", "1e99", "1.5", '""', '"NFC"', "[]", "{}", "[[]]", '{"type": "Sequence"}']
    )
    for _ in range(data.draw(st.integers(1, 3))):
        holder: Any = document
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key = data.draw(st.sampled_from(keys))
            inner = holder[key]
            if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
                holder[key] = json.loads(data.draw(junk))
                break
            holder = inner
        if not isinstance(document, dict) or not document:
            break
    try:
        parts("read_tokenizer", document=json.dumps(document))
    except PartsError as error:
        assert error.kind == "BundleError"
