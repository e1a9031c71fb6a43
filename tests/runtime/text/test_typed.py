from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime import WordError
from clsclip_runtime.text.typed import typed_classes


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dog", {"dog": ("dog",)}),
        ("dog,bottle", {"dog": ("dog",), "bottle": ("bottle",)}),
        ("dog, bottle,", {"dog": ("dog",), "bottle": ("bottle",)}),
        ("犬、猫，kuş،قط", {"犬": ("犬",), "猫": ("猫",), "kuş": ("kuş",), "قط": ("قط",)}),
        ('"dog, bottle"', {"dog, bottle": ("dog, bottle",)}),
        ("“dog, bottle” , 'cat'", {"dog, bottle": ("dog, bottle",), "cat": ("cat",)}),
        ("driver's seat, bird's nest", {"driver's seat": ("driver's seat",), "bird's nest": ("bird's nest",)}),
        ("'n roll", {"'n roll": ("'n roll",)}),
        ("helmet = safety helmet | hard hat", {"helmet": ("safety helmet", "hard hat")}),
        ("helmet = \"hat, hard\" | 'a|b'", {"helmet": ("hat, hard", "a|b")}),
        ("helmet = hat, vest = vest | jacket", {"helmet": ("hat",), "vest": ("vest", "jacket")}),
        ("safety helmet | hard hat", {"safety helmet": ("safety helmet", "hard hat")}),
        ("E=mc2", {"E=mc2": ("E=mc2",)}),
    ],
)
def test_what_is_typed(typed: str, meant: dict[str, tuple[str, ...]]) -> None:
    assert typed_classes([typed]).mapping == meant


def test_a_comma_is_told() -> None:
    assert typed_classes(["dog, bottle"]).notes == ("'dog, bottle' has a comma and was read as 2 classes: dog, bottle",)
    assert typed_classes(["dog,"]).notes == ()


def test_words_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes('\ufeff"dog"\r\n\r\n# a comment\n  dining_table \n犬\nhelmet = “hat” | cap\n'.encode())
    asked = typed_classes(["cat"], path)
    assert asked.classes == ("cat", "dog", "dining table", "犬", "helmet")
    assert asked.prompts[-1] == ("hat", "cap")
    assert asked.notes == (
        'quotes around words of words.txt were left out: "dog", “hat”',
        "'dining_table' was read as 'dining table' (underscore)",
    )
    path.write_bytes("dog\ncat\n".encode("utf-16"))
    assert typed_classes([], path).classes == ("dog", "cat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no word"),
        (b"# a\n\n", "holds no word"),
        (b"\xff\xd8\xff", "not UTF-8"),
        (b"a\0\n", "control character"),
    ],
)
def test_files_that_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(WordError, match=message):
        typed_classes([], path)


@pytest.mark.parametrize("name", ["none.txt", "x" * 300, "a\0b", "."])
def test_files_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(WordError, match="cannot read the words"):
        typed_classes([], tmp_path / name)


@given(st.text(max_size=30))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        asked = typed_classes([text])
    except WordError:
        return
    assert all(asked.prompts)
    again = typed_classes([f'"{word}"' for word in asked.words if '"' not in word] or ["x"])
    assert set(again.words) <= {*asked.words, "x"}
