"""The script that runs pages: what it runs, what it leaves out, what it notices; and the English of all of them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.pages import __main__ as script
from tests.pages import english
from tests.pages.blocks import ROOT, NoteError, blocks, pages, shell_lines
from tests.pages.page import run_page


def page(folder: Path, text: str) -> Path:
    """A page of a project of its own."""
    path = folder / "page.md"
    path.write_text(textwrap.dedent(text), "utf-8")
    return path


def test_what_is_run_and_what_is_not(tmp_path: Path) -> None:
    path = page(
        tmp_path,
        """
        ```sh
        pip install .   # twice
        echo a \\
          b
        ```
        <!-- docs-test: without "far": another machine -->
        ```sh
        echo far
        echo near
        ```
        <!-- docs-test: not here: a GPU -->
        ```python
        never()
        ```
        <!-- docs-test: needs build/x: make x -->
        ```sh
        build/x
        ```
        <!-- docs-test: instead: small
        echo small
        -->
        ```sh
        echo large
        ```
        <!-- docs-test: first
        echo before
        -->
        <!-- docs-test: serves http://127.0.0.1:9/ -->
        ```sh
        echo after
        ```
        ```json
        {"not": "run"}
        ```
        """,
    )
    found = list(blocks(path, tmp_path))
    assert [one.commands for one in found] == [
        ["echo a    b"], ["echo near"], [], [], ["echo small"], ["echo before", "echo after"],
    ]  # fmt: skip
    assert [one.left_out[0][1] for one in found[:5]] == [
        "installs; `make installs` does", "another machine", "a GPU", "make x", "small",
    ]  # fmt: skip
    assert found[5].serves == "http://127.0.0.1:9/"
    assert [one.line for one in found[:2]] == [2, 8]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- docs-test: not here -->\n```sh\na\n```\n", "needs a reason"),
        ("<!-- docs-test: skip -->\n```sh\na\n```\n", "says nothing that is known"),
        ('<!-- docs-test: without "b": c -->\n```sh\na\n```\n', "no command has 'b'"),
        ("<!-- docs-test: not here: x -->\n", "no block follows"),
        ("<!-- docs-test: first\na\n-->\n```python\na\n```\n", "for blocks of a shell"),
    ],
)
def test_comments_that_say_nothing_are_errors(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(NoteError, match=told):
        list(blocks(page(tmp_path, text), tmp_path))


def test_every_page_can_be_read_and_says_why_it_leaves_something_out() -> None:
    found = pages()
    assert len(found) == len(set(found)) > 25
    for path in found:
        for block in blocks(path):
            assert all(reason for _, reason in block.left_out), block


def test_a_page_is_run_in_order_until_something_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    programs = (
        "from pathlib import Path\nnumber = int(Path('one').read_text())",
        "Path('two').write_text(str(number + 1))",
    )
    text = "```sh\necho 1 > one\n```\n" + "".join(f"```python\n{one}\n```\n" for one in programs)
    path = tmp_path / "page.md"
    path.write_text(text + "```sh\nfalse\ntouch three\n```\n", "utf-8")
    monkeypatch.setattr("tests.pages.page.blocks", lambda where: blocks(where, tmp_path))
    with pytest.raises(Exception, match="returned non-zero"):
        run_page(path, tmp_path)
    assert (tmp_path / "two").read_text("utf-8") == "2"
    assert not (tmp_path / "three").exists()


def test_what_was_left_out_is_told_once_a_block() -> None:
    installs, make = script.EVERYWHERE[0][1], script.EVERYWHERE[1][1]
    left_out = [
        ("a.md:1", "pip install .", installs),
        ("a.md:9", "one  --x", "a GPU"),
        ("a.md:9", "two", "a GPU"),
        ("b.md:2", "cd x", installs),
        ("b.md:5", "three", "a GPU"),
        ("b.md:7", "make y", make),
    ]
    assert list(script.told(left_out)) == [
        f"2 commands of all pages: {installs}",
        "a.md:9: a GPU (2 commands: one --x)",
        "b.md:5: a GPU (1 command: three)",
        f"1 command of all pages: {make}",
    ]


@pytest.mark.long
def test_the_readme_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(script.main, ["README.md", "--work", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "ok     README.md: 2 commands" in done.output
    assert "downloads weights from a hub" in done.output
    assert (tmp_path / "README" / "out" / "cluttered_overlay.png").is_file()


def test_the_english_of_everything() -> None:
    assert list(english.all_findings()) == []


def test_what_the_check_of_english_notices() -> None:
    long = " ".join(["word"] * 41)
    assert [one.partition(": ")[2][:8] for one in english.findings_in("x", f"# a\n\nShort.\n- {long}.\n")] == [
        "41 words"
    ]
    assert list(english.findings_in("x", f"```\n{long}\n```\n| {long} |\n<!-- {long} -->\n")) == []
    assert "x:3" in next(english.findings_in("x", "a\n\nIt goes\non.\n"))
    told = list(english.readme_findings("word " * 901))
    assert len(told) == 1 + len(english.NEEDED_FIRST)
    assert shell_lines("a \\\n b\n\n# c\n") == ["a   b"]
    assert ROOT == english.ROOT
