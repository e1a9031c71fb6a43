"""Writes the Unicode tables of the C++ runtime: ``python runtime/cpp/scripts/unicode_tables.py``.

Kinds of characters, lower case and normal forms are asked from the ``tokenizers`` library, character by character, so
that token ids are those of the Python runtime whatever version of Unicode each part of the library has. Case folding
and invisible characters, which ``str`` decides in Python, are Python's own. What is mended about words is what
``clsclip_runtime.text.mending`` mends, and HTML entities are those of Python's ``html``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from html.entities import html5
from pathlib import Path

from tokenizers import Regex, __version__, normalizers

from clsclip_runtime.text import mending

FOLDER = Path(__file__).resolve().parents[1] / "src" / "unicode"
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)
KINDS = {r"\s": 1, r"\p{L}": 2, r"\p{N}": 3}
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}

_nfc = cache(normalizers.NFC().normalize_str)
_nfd = cache(normalizers.NFD().normalize_str)


def kinds() -> dict[int, int]:
    """Code points that the library's regular expressions call white space, letters or numbers."""
    found = {}
    for pattern, kind in KINDS.items():
        drop = normalizers.Replace(Regex(f"{pattern}+"), "")
        for start in range(0, len(CODES), 4096):
            block = CODES[start : start + 4096]
            kept = set(map(ord, drop.normalize_str("".join(map(chr, block)))))
            found.update((code, kind) for code in block if code not in kept)
    return found


def starts(values: dict[int, int]) -> Iterator[tuple[int, int]]:
    """(first code point, value) wherever the value changes; 0 where there is none."""
    before = 0
    for code in range(0x110000):
        value = values.get(code, 0)
        if value != before:
            yield code, value
        before = value


def case_runs(change: Callable[[str], str]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """One-to-one changes as runs (first, last, step, difference), and the others as (code, up to three codes)."""
    runs: list[list[int]] = []
    others: list[tuple[int, ...]] = []
    for code in CODES:
        changed = [ord(one) for one in change(chr(code))]
        if changed == [code]:
            continue
        if len(changed) != 1:
            others.append((code, *changed, *[0] * (3 - len(changed))))
            continue
        difference = changed[0] - code
        if runs and runs[-1][3] == difference and code - runs[-1][1] in (1, 2):
            step = code - runs[-1][1]
            if runs[-1][0] == runs[-1][1] or runs[-1][2] == step:
                runs[-1][1:3] = code, step
                continue
        runs.append([code, code, 1, difference])
    return [tuple(run) for run in runs], others


def combining_classes() -> dict[int, int]:
    """Classes of marks, by the order in which the library puts pairs of them: only the order of classes matters."""
    marks: dict[int, str] = {}
    for code in CODES:
        # Marks that every version knows.
        marks.setdefault(unicodedata.ucd_3_2_0.combining(chr(code)), chr(code))
    marks.pop(0)
    ordered = sorted(marks)

    def comes_before(one: str, other: str) -> bool:
        return one != other and _nfd(other + one) == one + other

    found = {}
    highest = marks[ordered[-1]]
    for code in CODES:
        one = chr(code)
        if _nfd(one) != one:
            continue
        if comes_before(one, highest):
            found[code] = max((low for low in ordered if not comes_before(one, marks[low])), default=ordered[0])
        elif comes_before(marks[ordered[0]], one):
            found[code] = ordered[-1]
    return found


def decompositions() -> Iterator[tuple[int, int, int, int]]:
    """(code, first, second, whether NFC joins the two again), the second 0 where one code point stands for another."""
    full = {code: _nfd(chr(code)) for code in CODES if code not in HANGUL}
    by_form = {form: code for code, form in full.items() if len(form) > 1}
    # Of characters with one form, the one that NFC takes.
    by_form.update({form: code for code, form in full.items() if form in by_form and _nfc(chr(code)) == chr(code)})
    for code, form in full.items():
        if form == chr(code):
            continue
        first = form[:-1] or form
        head = ord(first) if len(first) == 1 else by_form[first]
        yield code, head, ord(form[-1]) if len(form) > 1 else 0, int(_nfc(chr(code)) == chr(code))


def cased() -> dict[int, int]:
    """1 for letters that have a case, 2 for what may stand between them and a sigma, as ``str.lower`` looks at both."""
    found = {}
    for code in CODES:
        if f"{chr(code)}Σ".lower()[-1] == "ς":
            found[code] = 1
        elif f"a{chr(code)}Σ".lower()[-1] == "ς":
            found[code] = 2
    return found


def mended() -> Iterator[tuple[int, ...]]:
    """(code, kind, up to three codes in its place): 1 ligatures, 2 widths, 3 quotes, 4 what is left out."""
    tables = (mending.LIGATURES, mending.WIDTHS, mending.QUOTES, mending.INVISIBLE)
    rows = [(code, kind, instead or "") for kind, table in enumerate(tables, 1) for code, instead in table.items()]
    for code, kind, instead in sorted(rows):
        yield (code, kind, *map(ord, instead), *[0] * (3 - len(instead)))


def entities() -> str:
    """Names of HTML without ``&``, by their bytes, and the one or two characters that each stands for."""
    rows = sorted((name.encode(), text) for name, text in html5.items())
    texts = [
        f'{{"{name.decode()}",{hex(ord(text[0]))},{hex(ord(text[1])) if text[1:] else 0}}},' for name, text in rows
    ]
    lines, line = [], "   "
    for text in texts:
        if len(line) + len(text) > 119:
            lines.append(line)
            line = "   "
        line += " " + text
    body = "\n".join([*lines, line])
    return (
        "/// By the bytes of their names.\n"
        f"inline constexpr std::array<Entity, {len(rows)}> entities{{{{\n{body}\n}}}};\n"
    )


def array(name: str, kind: str, rows: Iterable[tuple[int, ...]], comment: str) -> str:
    """A C++ array in lines of up to 120 characters."""
    lines, line = [], "   "
    rows = list(rows)
    for row in rows:
        text = f"{{{','.join(hex(value) if abs(value) > 9 else str(value) for value in row)}}},"
        if len(line) + len(text) > 119:
            lines.append(line)
            line = "   "
        line += " " + text if line == "   " else text
    body = "\n".join([*lines, line])
    return f"/// {comment}\ninline constexpr std::array<{kind}, {len(rows)}> {name}{{{{\n{body}\n}}}};\n"


def write(file: str, about: str, structs: str, arrays: list[str]) -> None:
    """One table file."""
    head = f"/// {about}\n///\n/// Made by runtime/cpp/scripts/unicode_tables.py from tokenizers {__version__} "
    head += (
        f"and Unicode {unicodedata.unidata_version} of Python: change it there.\n// clang-format off\n#pragma once\n\n"
    )
    head += "#include <array>\n#include <cstdint>\n\nnamespace clsclip::unicode {\n\n"
    (FOLDER / file).write_text(head + structs + "\n" + "\n".join(arrays) + "\n}  // namespace clsclip::unicode\n")


def main() -> None:
    """Write all tables."""
    invisible = {code: 1 for code in range(0x110000) if unicodedata.category(chr(code)) in INVISIBLE}
    lower, lower_others = case_runs(normalizers.Lowercase().normalize_str)
    folded, folded_others = case_runs(str.casefold)
    start = "/// Code points from `first` on, up to the next entry, have this value.\nstruct Start {\n"
    start += "    std::uint32_t first : 24;\n    std::uint32_t value : 8;\n};\n"
    case = "/// Every step-th code point from first to last changes by `difference`.\nstruct CaseRun {\n"
    case += "    std::int32_t first, last, step, difference;\n};\n\n"
    case += "/// One code point that becomes up to three; 0 ends them.\nstruct CaseOther {\n"
    case += "    std::uint32_t code, first, second, third;\n};\n"
    pair = "/// A code point and what it is made of; `second` is 0 where it stands for `first` alone.\nstruct Pair {\n"
    pair += "    std::uint32_t code, first, second, joins;\n};\n"
    write(
        "tables_kinds.hpp",
        "What kinds of characters there are.",
        start,
        [
            array("kinds", "Start", starts(kinds()), "0 other, 1 white space, 2 letter, 3 number."),
            array("invisible", "Start", starts(invisible), "1 for what has no shape of its own."),
            array("combining", "Start", starts(combining_classes()), "Combining classes of marks."),
        ],
    )
    write(
        "tables_case.hpp",
        "Lower case and case folding.",
        case,
        [
            array("lower", "CaseRun", lower, "To lower case, as the tokenizers library does."),
            array("lower_others", "CaseOther", lower_others, "Those that become several."),
            array("folded", "CaseRun", folded, "Folded, as str.casefold of Python does."),
            array("folded_others", "CaseOther", folded_others, "Those that become several."),
        ],
    )
    what = "/// A character that is replaced by up to three; 0 ends them.\nstruct Mended {\n"
    what += "    std::uint32_t code, kind, first, second, third;\n};\n\n" + start
    entity = "/// A name of HTML, and the one or two characters that it stands for.\nstruct Entity {\n"
    entity += "    const char* name;\n    std::uint32_t first, second;\n};\n"
    comment = "1 ligatures, 2 full and half widths, 3 curly quotes, 4 what is left out."
    write(
        "tables_words.hpp",
        "What is mended about words.",
        what.replace("struct Start", "struct Cased"),
        [
            array("mended", "Mended", mended(), comment),
            array("cased", "Cased", starts(cased()), "1 for letters with a case, 2 for what case looks through."),
        ],
    )
    write("tables_entities.hpp", "Names of HTML.", entity, [entities()])
    write(
        "tables_normal.hpp",
        "Canonical decompositions, but for Hangul syllables.",
        pair,
        [array("decompositions", "Pair", decompositions(), "By code point.")],
    )


if __name__ == "__main__":
    main()
