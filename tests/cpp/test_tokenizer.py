"""Token ids of the C++ runtime against the tokenizers library, on every kind of text that people and machines make."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, normalizers

from clsclip.clip_tokenizer import clip_tokenizer
from clsclip_runtime.bundle.opening import EMBEDDED
from tests.cpp.parts import Parts, PartsError

KINDS = ("clip", "hub", "stickers")

GOLDEN = [
    *(
        "",
        " ",
        "  ",
        "a",
        "dog",
        "Dog",
        "DOG",
        "dining table",
        "  potted   plant ",
        "T-shirt",
        "it's",
        "IT'S",
        "we'll've",
    ),
    *(
        "'s",
        "''s",
        "'''s",
        "x'sy",
        "?'s",
        "rock 'n' roll",
        "'S 's'S",
        "don’t",
        "9",
        "12x34",
        "½ ²³ Ⅷ",
        "१२३",
        "1st_2nd-3rd",
    ),
    *(
        "tab\there",
        "new\nline",
        "a\r\n\r\nb",
        " \t\x0b\x0c\x1c\x1d\x85\xa0x",
        "a\u3000b\u2003c\u2028d\u1680e",
        "zero\u200bwidth",
    ),
    *(
        "e\u0301",
        "é",
        "A\u030a\u0327",
        "A\u0327\u030a",
        "\u0301a",
        "\u0344",
        "각",
        "\u1100\u1161\u11a8",
        "\uac00\u11a8",
        "ﬁ",
    ),
    *(
        "ǅ",
        "İstanbul",
        "STRASSE ß ẞ",
        "ΟΔΥΣΣΕΥΣ",
        "ſK",
        "Å\u212b",
        "\u1e9b\u0323",
        "\u0958\u0929",
        "क्षि",
        "ที่",
        "நி",
        "\U0001d15e",
    ),
    *(
        "犬",
        "猫と犬",
        "собака",
        "كلب",
        "כלב",
        "한국어",
        "🐕",
        "👨‍👩‍👧‍👦",
        "🇫🇷",
        "❤️",
        "🏽",
        "\ue000\uf8ff",
        "\ufffd\ufffe\uffff",
        "\U0010ffff",
    ),
    *(
        "<pad>",
        "a<end>b",
        "<start>",
        "<START>",
        "<start_of_text> x",
        "<|endoftext|>!",
        "<<pad>>",
        "dog<pad>  cat",
        "\0",
        "a\0b\x7f",
    ),
    *(
        "!!!???",
        "...",
        "#hash @at $5 50% a&b",
        "C++",
        "http://x.y/z?q=1",
        "a" * 300,
        "🐕" * 50,
        "ab" * 400,
        "!" * 500,
        " " * 90,
    ),
]

SCRIPTS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGH",
    "0123456789",
    " \t\n\r\x0b\x0c\x85\xa0\u2003\u3000",
    "'’-_.,!?/#@$%&*()<>|",
]
SCRIPTS += ["".join(map(chr, range(low, high))) for low, high in [(0xC0, 0x250), (0x300, 0x370), (0x370, 0x530)]]
SCRIPTS += ["".join(map(chr, range(low, high))) for low, high in [(0x590, 0x780), (0x900, 0xE80), (0x1100, 0x1200)]]
SCRIPTS += ["".join(map(chr, range(low, high))) for low, high in [(0x1E00, 0x2000), (0x2000, 0x2070), (0x20D0, 0x20F1)]]
SCRIPTS += ["".join(map(chr, range(low, high))) for low, high in [(0x3040, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00)]]
SCRIPTS += [
    "".join(map(chr, range(low, high))) for low, high in [(0xF900, 0xFB50), (0x1D15E, 0x1D1C0), (0x1F300, 0x1F700)]
]
PIECES = [
    "'s",
    "'ll",
    "<pad>",
    "<start>",
    "<end>",
    "<|startoftext|>",
    "dog",
    " cat",
    "\u200d",
    "\ufe0f",
    "picture of a ",
    "Ġ",
]


def random_text(rng: random.Random) -> str:
    """Words of one script, marks on anything, emoji, controls, and code points from anywhere but surrogates."""
    parts = []
    for _ in range(rng.randint(1, 6)):
        choice = rng.random()
        if choice < 0.6:
            parts += rng.choices(rng.choice(SCRIPTS), k=rng.randint(1, 6))
        elif choice < 0.75:
            parts.append(rng.choice(PIECES))
        elif choice < 0.85:
            parts += [chr(rng.randrange(0x21)), rng.choice(SCRIPTS[6]), rng.choice(SCRIPTS[6])]
        else:
            code = rng.randrange(0x110000 - 0x800)
            parts.append(chr(code if code < 0xD800 else code + 0x800))
    return "".join(parts)


def hub_document(document: str) -> str:
    """CLIP's tokenizer as the hub's files have it: merges as texts, tokens added, and another post-processor."""
    data = json.loads(document)
    start, end = "<start_of_text>", "<end_of_text>"
    numbers = {name: data["model"]["vocab"][name] for name in (start, end)}
    data["added_tokens"] = [
        {"id": numbers[name], "content": name, "special": True, "normalized": name == start}
        | {"single_word": False, "lstrip": False, "rstrip": False}
        for name in (start, end)
    ]
    data["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = True
    data["post_processor"] = {"type": "RobertaProcessing", "sep": [end, numbers[end]], "cls": [start, numbers[start]]}
    data["post_processor"] |= {"trim_offsets": False, "add_prefix_space": False}
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    data["model"]["continuing_subword_prefix"] = ""
    return json.dumps(data)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """tokenizer.json of every kind."""
    folder = tmp_path_factory.mktemp("tokenizers")
    found = {name: folder / f"{name}.json" for name in ("clip", "hub")}
    found["clip"].write_text(clip_tokenizer().to_str())
    found["hub"].write_text(hub_document(found["clip"].read_text()))
    return {**found, "stickers": EMBEDDED / "tokenizer.json"}


@pytest.fixture(scope="module")
def library(files: dict[str, Path]) -> dict[str, Tokenizer]:
    return {name: Tokenizer.from_file(str(file)) for name, file in files.items()}


def ids_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [one.ids for one in tokenizer.encode_batch(texts)]


@pytest.mark.parametrize("kind", KINDS)
def test_golden_texts(parts: Parts, files: dict[str, Path], library: dict[str, Tokenizer], kind: str) -> None:
    found = parts("encode", file=str(files[kind]), texts=GOLDEN)
    for text, own, wanted in zip(GOLDEN, found, ids_of(library[kind], GOLDEN), strict=True):
        assert own == wanted, ascii(text)


@pytest.mark.parametrize("kind", KINDS)
def test_random_texts(parts: Parts, files: dict[str, Path], library: dict[str, Tokenizer], kind: str) -> None:
    rng = random.Random(kind)
    texts = [random_text(rng) for _ in range(20_000)]
    found = parts("encode", file=str(files[kind]), texts=texts)
    wrong = [
        ascii(text)
        for text, own, wanted in zip(texts, found, ids_of(library[kind], texts), strict=True)
        if own != wanted
    ]
    assert not wrong


@settings(max_examples=50)
@given(st.lists(st.text(max_size=40), max_size=20))
def test_hypothesis_finds_no_other_text(
    parts: Parts, files: dict[str, Path], library: dict[str, Tokenizer], texts: list[str]
) -> None:
    for kind in KINDS:
        assert parts("encode", file=str(files[kind]), texts=texts) == ids_of(library[kind], texts)


def all_characters() -> list[str]:
    return [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("nfc", normalizers.NFC().normalize_str),
        ("lower", normalizers.Lowercase().normalize_str),
        ("casefold", str.casefold),
    ],
)
def test_every_character_is_changed_as_in_python(parts: Parts, how: str, wanted: Callable[[str], str]) -> None:
    characters = [one for one in all_characters() if how != "casefold" or assigned_for_long(one)]
    # Line ends keep characters apart.
    found = parts("change", how=how, texts=["\n".join(characters)])[0].split("\n")
    in_python = wanted("\n".join(characters)).split("\n")
    assert [ascii(a) for a, b, c in zip(["\n", *characters], found, in_python, strict=False) if b != c] == []
    assert len(found) == len(in_python)


def assigned_for_long(character: str) -> bool:
    """What Python says of it does not depend on Python's version."""
    return unicodedata.ucd_3_2_0.category(character) != "Cn"


def test_every_character_is_of_the_kind_that_it_is_in_python(parts: Parts) -> None:
    characters = all_characters()
    found = parts("kinds", text="".join(characters))
    for number, pattern in enumerate([r"\s+", r"\p{L}+", r"\p{N}+"], start=1):
        kept = set(normalizers.Replace(Regex(pattern), "").normalize_str("".join(characters)))
        assert [ascii(a) for a, b in zip(characters, found, strict=True) if (b % 4 == number) != (a not in kept)] == []
    for character, kind in zip(characters, found, strict=True):
        if assigned_for_long(character):
            assert (kind >= 4) == (character == " " or not character.isprintable()), ascii(character)


@settings(max_examples=50)
@given(
    st.lists(st.text(st.sampled_from(SCRIPTS[6] + SCRIPTS[10] + "aeA가각\u0345\u093c\u09be\u0bd7\u1112\u1175\u11c2")))
)
def test_marks_in_any_order_are_put_in_normal_form(parts: Parts, texts: list[str]) -> None:
    wanted = [normalizers.NFC().normalize_str(text) for text in texts]
    assert parts("change", how="nfc", texts=texts) == wanted


WORDS = ["dog", "a very long word of many tokens that goes on and on", "", "{}", "potted plant", "犬" * 30]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [2, 3, 7, 16, 77])
def test_prompts_are_cut_off_and_padded_as_in_python(
    parts: Parts, files: dict[str, Path], kind: str, length: int
) -> None:
    templates = ["{}", "a picture of a {}", "{}, in the rain"]
    tokenizer = Tokenizer.from_file(str(files[kind]))
    tokenizer.enable_truncation(max_length=length)
    tokenizer.enable_padding(length=length, pad_id=5)
    encoded = tokenizer.encode_batch([template.replace("{}", word) for word in WORDS for template in templates])
    found = parts("encode_prompts", file=str(files[kind]), words=WORDS, templates=templates, length=length, pad=5)
    assert [one["ids"] for one in found] == [one.ids for one in encoded]
    assert [one["truncated"] for one in found] == [bool(one.overflowing) for one in encoded]


def test_a_context_without_room_for_start_and_end_is_refused(parts: Parts, files: dict[str, Path]) -> None:
    with pytest.raises(PartsError, match="context length is 1, and the tokenizer adds 2"):
        parts("encode_prompts", file=str(files["stickers"]), words=["dog"], templates=["{}"], length=1, pad=0)


@pytest.mark.parametrize(
    "bad", [[0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82]]
)
def test_what_is_not_utf8_is_refused(parts: Parts, files: dict[str, Path], bad: list[int]) -> None:
    with pytest.raises(PartsError, match="not valid UTF-8") as caught:
        parts("encode_bytes", file=str(files["stickers"]), bytes=[100, *bad])
    assert caught.value.kind == "WordError"


@pytest.mark.parametrize("kind", KINDS)
def test_long_words_take_no_long_time(
    parts: Parts, files: dict[str, Path], library: dict[str, Tokenizer], kind: str
) -> None:
    texts = ["ab" * 100_000, "a" * 200_000, "\u0301\u0323" * 50_000, " " * 200_000, "'" * 200_000]
    assert parts("encode", file=str(files[kind]), texts=texts) == ids_of(library[kind], texts)
