"""What keyboards, web pages and wrong encodings do to words, undone as CLIP's own tokenizer undoes it.

CLIP was trained on captions that went through a repair: curly quotes became straight, full-width letters usual ones,
ligatures letters, HTML entities what they stand for, and UTF-8 that had been read as Latin-1 was read again. A word
that keeps its curly apostrophe becomes tokens that CLIP has hardly seen.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_LIGATURES = (0x132, 0x133, 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4), *range(0xFB00, 0xFB07))
_WIDTHS = range(0xFF01, 0xFFF0)


def _ligature(code: int) -> str:
    """The letters of a ligature, by one step of its decomposition."""
    return "".join(chr(int(one, 16)) for one in unicodedata.decomposition(chr(code)).split()[1:])


def _unescaped(text: str) -> str:
    import html  # two thousand names, which few words need

    return html.unescape(text)


LIGATURES = {code: _ligature(code) for code in _LIGATURES}
WIDTHS = {code: usual for code in _WIDTHS if (usual := unicodedata.normalize("NFKC", chr(code))) != chr(code)}
"""Full-width letters and half-width kana, and the usual ones."""
QUOTES = dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'") | dict.fromkeys(range(0x201C, 0x2020), '"')
INVISIBLE = dict.fromkeys((*range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)))
"""Marks that CLIP's tokenizer leaves out: shaping controls, byte order, annotations."""

WINDOWS_1252 = {
    ord(bytes([byte]).decode("cp1252")): byte
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
"""What Windows shows for the bytes that Latin-1 has as control characters."""


def decoded_again(text: str) -> str:
    """A text that is UTF-8 read as Latin-1 or Windows-1252, read as UTF-8; any other as it is.

    Many symbols behind letters are valid UTF-8 by chance, such as ``É®``. So what comes out must have several letters
    that are not ASCII, of the usual scripts, or one of Latin-1 (``cafÃ©``) or of three bytes.
    """
    if text.isascii():
        return text
    try:
        read = bytes(WINDOWS_1252.get(ord(one), ord(one)) for one in text).decode("utf-8")
    except ValueError:
        return text
    codes = [ord(one) for one in read if not one.isascii()]
    if any(code < 0xA0 for code in codes):
        return text
    if any(code >= 0x800 for code in codes):
        return read
    if len(codes) > 1:
        return read if all(code < 0x180 or code >= 0x370 for code in codes) else text
    # The second byte of other letters of one pair is often a dash or a quote that was meant.
    single = codes[0] < 0x100 or (codes[0] < 0x180 and all(ord(one) < 0x100 for one in text))
    return read if single else text


_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("HTML entity", lambda text: _unescaped(text) if "&" in text else text),
    ("wrong encoding", decoded_again),
    ("ligature", lambda text: text.translate(LIGATURES)),
    ("width", lambda text: text.translate(WIDTHS)),
    ("curly quote", lambda text: text.translate(QUOTES)),
    ("invisible mark", lambda text: text.translate(INVISIBLE)),
    ("underscore", lambda text: text.replace("_", " ")),
)


def mend(text: str) -> tuple[str, tuple[str, ...]]:
    """A text as it was meant, in Unicode NFC, and what was wrong with it: ``HTML entity``, ``underscore``, ...

    Data sets write spaces as underscores. A hyphen stays: a t-shirt is no shirt. Mending again changes nothing.
    """
    found = set()
    while True:
        before = text
        for what, step in _STEPS:
            mended = step(text)
            if mended != text:
                found.add(what)
            text = mended
        text = unicodedata.normalize("NFC", text)
        if text == before:
            return text, tuple(what for what, _ in _STEPS if what in found)


def fill_template(template: str, word: str) -> str:
    """A prompt: ``word`` in the place of ``{}``, and a sigma at the end of a word in its final form.

    Tokenizers make capitals small letter by letter, which loses it; CLIP's own looks at the whole word.
    """
    prompt = template.replace("{}", word)
    return re.sub("Σ", lambda sigma: _small_sigma(prompt, sigma.start()), prompt) if "Σ" in prompt else prompt


def _small_sigma(text: str, at: int) -> str:
    """``ς`` for the capital sigma at a position that ends a word, else the capital as it is."""
    small = text.lower()[len(text[:at].lower())]
    return small if small == "ς" else "Σ"
