"""Words of the C++ runtime against Python's: how they are cleaned, and what is said about them."""

from __future__ import annotations

import html.entities
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsclip_runtime import WordError
from clsclip_runtime.text.mending import LIGATURES, QUOTES, WIDTHS, fill_template
from clsclip_runtime.text.words import clean_classes
from tests.cpp.parts import Parts, PartsError
from tests.runtime.text.test_mending import ACCENTS, TYPED

PIECES = st.sampled_from(
    [
        *(
            "&",
            "&amp;",
            "&amp",
            "&#8217;",
            "&#x2019;",
            "&#0;",
            "&#128;",
            "&#xD800;",
            "&#1114112;",
            "&notit;",
            "&bne;",
            "&x",
        ),
        *("_", " ", "\u3000", "\xa0", "-", ",", "|", "=", "a", "B", "é", "e\u0301", "É®", "Σ", "ς", "ʼ", "\u200d"),
        *(
            "’",
            "“",
            "‘",
            "Ã©",
            "Ã\x89",
            "Å“",
            "Â’",
            "Ñ\x81",
            "æ—¥",
            "ð\x9f\x98\x80",
            "\ufeff",
            "\u2028",
            "\ufffc",
            "\x85",
            "\x1b",
        ),
        *("ﬁ", "ŉ", "Ǆ", "Ａ", "ｶﾞ", "＆amp；", "＿", "한", "犬", "कि"),
    ]
)


def python(classes: list[str], prompts: dict[str, list[str]]) -> Any:
    try:
        asked = clean_classes({name: prompts.get(name, name) for name in classes} if prompts else classes)
    except WordError:
        return "WordError"
    return {"classes": list(asked.classes), "prompts": [list(one) for one in asked.prompts], "notes": list(asked.notes)}


def cpp(parts: Parts, classes: list[str], prompts: dict[str, list[str]]) -> Any:
    try:
        return parts("clean_classes", classes=classes, prompts=prompts)
    except PartsError as error:
        return error.kind


@settings(max_examples=400)
@given(st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=4))
def test_words_are_cleaned_alike(parts: Parts, words: list[str]) -> None:
    assert cpp(parts, words, {}) == python(words, {})


@settings(max_examples=100)
@given(st.text(max_size=20))
def test_any_text_is_cleaned_alike(parts: Parts, word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError:
        return
    assert cpp(parts, [word], {}) == python([word], {})


@pytest.mark.parametrize("word", [*TYPED, *ACCENTS.split()])
def test_what_is_typed(parts: Parts, word: str) -> None:
    wrong = word.encode().decode("latin-1")
    assert cpp(parts, [word, wrong, f"the {word}"], {}) == python([word, wrong, f"the {word}"], {})


def test_every_entity_and_every_character_that_is_replaced(parts: Parts) -> None:
    entities = [f"a&{name}b" for name in html.entities.html5]
    characters = [f"a{chr(code)}b" for code in (*LIGATURES, *WIDTHS, *QUOTES, *range(0x2000, 0x2100))]
    for words in (entities, characters, [f"&#{code};x" for code in range(300)]):
        kept = [word for word in words if python([word], {}) != "WordError"]
        assert cpp(parts, kept, {}) == python(kept, {})


def test_prompts_are_cleaned_alike(parts: Parts) -> None:
    prompts = {"traffic_light": ["traffic_light", "signal", "traffic light"], "helmet": ["hard\u2019s_hat"]}
    classes = ["dog", "traffic_light", "helmet"]
    assert cpp(parts, classes, prompts) == python(classes, prompts)


@given(st.text(st.sampled_from("ΣςσaB.'-1 \u0301\u00ad犬ʰΑ"), max_size=10))
def test_sigmas_at_the_ends_of_words(parts: Parts, text: str) -> None:
    assert parts("final_sigmas", texts=[text]) == [fill_template("{}", text)]
