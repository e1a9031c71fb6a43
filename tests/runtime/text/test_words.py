from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime import WordError
from clsclip_runtime.text.words import MAX_WORD_CHARACTERS, clean_classes, clean_word


@pytest.mark.parametrize(
    ("typed", "clean"),
    [
        ("dog", "dog"),
        ("  dining \t table\n", "dining table"),
        ("cafe\u0301", "caf\u00e9"),
        ("犬", "犬"),
        ("كلب", "كلب"),
        ("a{}b", "a{}b"),
        ("\u3000wide\u3000", "wide"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("x" * MAX_WORD_CHARACTERS, "x" * MAX_WORD_CHARACTERS),
    ],
)
def test_words_are_stripped_collapsed_and_composed(typed: str, clean: str) -> None:
    assert clean_word(typed) == clean


@pytest.mark.parametrize("word", ["", " ", "\n\t", "\u200b", "\u200b \u200d", "\u3000"])
def test_empty_words_are_refused(word: str) -> None:
    with pytest.raises(WordError, match="empty"):
        clean_word(word)


@pytest.mark.parametrize("word", ["do\0g", "\x1b[31mred", "dog\x7f", "a\x85b", "\x1cdog", "\ud800"])
def test_control_characters_are_refused_and_not_echoed(word: str) -> None:
    with pytest.raises(WordError, match="control character") as caught:
        clean_word(word)
    assert str(caught.value).isprintable()


def test_a_word_of_500_words_names_the_limit() -> None:
    with pytest.raises(WordError, match=r"1999 characters, and the limit is 256"):
        clean_word(" ".join(["dog"] * 500))


@pytest.mark.parametrize("word", [3, None, b"dog", ["dog"]])
def test_what_is_not_text_is_refused(word: object) -> None:
    with pytest.raises(WordError, match="must be a text"):
        clean_word(word)


@pytest.mark.parametrize("classes", [5, None, b"dog"])
def test_classes_must_be_words(classes: object) -> None:
    with pytest.raises(WordError, match="must be a list of words"):
        clean_classes(classes)  # type: ignore[arg-type]


def test_no_words_is_an_error() -> None:
    with pytest.raises(WordError, match="no class was given"):
        clean_classes([])


def test_one_text_is_one_word() -> None:
    assert clean_classes("dining table").classes == ("dining table",)


def test_any_iterable_will_do() -> None:
    assert clean_classes(word for word in ("a", "b")).classes == ("a", "b")


def test_repeated_words_are_kept_once_and_noted() -> None:
    asked = clean_classes(["dog", "Dog", " dog ", "cat", "dog"])
    assert asked.classes == ("dog", "Dog", "cat")
    assert asked.notes == ("'dog' was asked 3 times and is reported once",)


def test_a_class_may_have_several_prompts() -> None:
    asked = clean_classes({"helmet": ["safety helmet", "hard_hat", "safety  helmet"], "traffic_light": "traffic_light"})
    assert asked.classes == ("helmet", "traffic_light")
    assert asked.prompts == (("safety helmet", "hard hat"), ("traffic light",))
    assert asked.words == ("safety helmet", "hard hat", "traffic light")
    assert asked.notes == (
        "'hard_hat' was read as 'hard hat' (underscore)",
        "'traffic_light' was read as 'traffic light' (underscore)",
    )
    assert clean_classes(asked) is asked


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "no class was given"),
        ({"helmet": []}, "'helmet' has no prompt"),
        ({"helmet": 3}, "must be a word or a list of words, not int"),
        ({"helmet": b"hat"}, "not bytes"),
        ({"helmet": [3]}, "must be a text"),
        ({3: "hat"}, "must be a text"),
        ({"": "hat"}, "empty"),
        ({"a\x1b": "hat"}, "control character"),
    ],
)
def test_prompts_that_are_refused(classes: dict[object, object], message: str) -> None:
    with pytest.raises(WordError, match=message):
        clean_classes(classes)  # type: ignore[arg-type]


def test_a_comma_in_a_list_of_words_is_told() -> None:
    asked = clean_classes(["dog, bottle"])
    assert asked.classes == ("dog, bottle",)
    assert asked.notes == ("'dog, bottle' was taken as one word; several classes are several words",)


def test_many_changes_are_one_note() -> None:
    (note,) = clean_classes([f"thing_{number}" for number in range(1200)]).notes
    assert note.startswith("1,200 words were changed as they were read, such as 'thing_0' was read as 'thing 0'")


@given(st.text(max_size=40))
def test_cleaning_again_changes_nothing(text: str) -> None:
    try:
        clean = clean_word(text)
    except WordError:
        return
    assert clean_word(clean) == clean
    assert clean == clean.strip()
    assert "  " not in clean
    assert unicodedata.is_normalized("NFC", clean)
    assert not any(unicodedata.category(character) == "Cc" for character in clean)
