"""Words become CLIP's own tokens: open_clip's tokenizer, which repairs texts with ftfy, is the reference."""

from __future__ import annotations

import unicodedata

import ftfy
import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip.clip_tokenizer import clip_tokenizer
from clsclip_runtime.text.mending import decoded_again, fill_template, mend
from clsclip_runtime.text.words import clean_word

TEMPLATE = "a photo of a {}."

TYPED = (
    *("driver’s seat", "bird‘s nest", "“stop” sign", "L’été", "rock'n'roll", "don`t", "„Hund“", "«chien»"),
    *("ﬁre truck", "ﬀ", "ŉ", "Ǆep", "ĳs", "straße", "ＡＢＣ", "ＤＪ　ｂｏｏｔｈ", "ｶﾒﾗ", "ｶﾞﾗｽ", "￥100"),
    *("Tom &amp; Jerry", "&lt;b&gt;", "&eacute;t&eacute;", "caf&#233;", "R&D", "dog & cat", "&amp;amp;"),
    *("cafÃ©", "naÃ¯ve cafÃ©", "Ð¡Ð¾Ð±Ð°ÐºÐ°", "æ—¥æœ¬", "Å¼aba", "driverâ€™s seat"),
    *("ΣΑΣ", "ΟΔΟΣ ΣΑΣ", "Σίσυφος", "Σ", "İstanbul", "x²", "½ cup", "№ 5", "t-shirt", "coca-cola™", "it…", "a–b"),
    *(
        "e\u0301clair",
        "soft\u00adhyphen",
        "zero\u200bwidth",
        "\ufeffdog",
        "👨\u200d👩\u200d👧",
        "नमस्ते",
        "كلب",
        "日本語",
    ),
)


def reference(word: str) -> list[int]:
    tokens: list[int] = open_clip.get_tokenizer("ViT-B-16")([TEMPLATE.format(word)])[0].tolist()
    return tokens[: tokens.index(49407) + 1]


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return clip_tokenizer()


@pytest.mark.parametrize("word", TYPED)
def test_tokens_are_those_of_clip(word: str, tokenizer: object) -> None:
    assert tokenizer.encode(fill_template(TEMPLATE, clean_word(word))).ids == reference(word)  # type: ignore[attr-defined]


def test_every_character_is_mended_as_ftfy_does() -> None:
    codes = (code for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    texts = [f"a{chr(code)}b" for code in codes if unicodedata.category(chr(code)) not in ("Cc", "Co", "Cn")]
    # One call for many: single characters do not change each other.
    for start in range(0, len(texts), 5000):
        block = "\u200b|".join(texts[start : start + 5000])
        theirs = ftfy.fix_text(block, fix_encoding=False, unescape_html=False).replace("_", " ")
        ours = "\u200b|".join(mend(text)[0] for text in texts[start : start + 5000])
        assert ours.split() == theirs.split()


ACCENTS = "café naïve Ångström Müller jalapeño niño façade smörgåsbord ÉCOLE łódź собака Ελλάδα שלום किताब 犬 한국어 😀"


@pytest.mark.parametrize("word", ACCENTS.split())
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_wrong_encodings_are_undone(word: str, encoding: str) -> None:
    wrong = word.encode().decode(encoding, "ignore")
    if wrong.encode(encoding) != word.encode():
        wrong = "".join(bytes([one]).decode(encoding, "ignore") or chr(one) for one in word.encode())
    assert wrong != word
    assert decoded_again(wrong) == word
    assert ftfy.fix_text(wrong) == word


@pytest.mark.parametrize(
    "word", ["CAFÉ’S", "NESCAFÉ®", "CAFÉ® NESCAFÉ®", "groß“", "É©", "São", "Ã", "a×–b", "Ñ™", "Ä’"]
)
def test_letters_before_symbols_are_no_wrong_encoding(word: str) -> None:
    assert decoded_again(word) == word


def test_what_was_wrong_is_said() -> None:
    assert mend("driver’s_seat &amp; ﬁre") == (
        "driver's seat & fire",
        ("HTML entity", "ligature", "curly quote", "underscore"),
    )
    assert mend("t-shirt") == ("t-shirt", ())


@given(st.text(alphabet=st.sampled_from("a&;#x27amplt_’“ÃÂ©ﬁＡｶﾞΣé\u0301\xa0\ufeff＆；"), max_size=14))
def test_mending_again_changes_nothing(text: str) -> None:
    assert mend(mend(text)[0]) == (mend(text)[0], ())
