"""What is printed never ends a run, is nothing that a terminal would obey, and with --json is JSON alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.cli.output import echo
from clsclip_runtime.errors import one_line, printable

RUN = "import sys; from clsclip_runtime.cli.{module} import main; sys.exit(main(sys.argv[1:]))"
EVIL = "red\u202egreen"
NAME = "写真\x1b[31m\u202e.png"


def run(
    module: str, *arguments: str, shell: str = "", encoding: str = "ascii:strict", bundle: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own, in a terminal that has ASCII alone."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "CLSCLIP_CACHE": "off"}
    model = () if bundle is None else ("--model", str(bundle), "--backend", "onnxruntime-cpu")
    command = [sys.executable, "-c", RUN.format(module=module), *arguments, *model]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    return subprocess.run(command, capture_output=True, env=environment, timeout=120)


@given(st.text())
def test_nothing_hidden_is_printed(text: str) -> None:
    shown = printable(text)
    assert all(
        unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or one in "\u200c\u200d" for one in shown
    )
    assert printable(shown) == shown
    assert len(one_line(text).splitlines()) <= 1


def test_spaces_and_joiners_stay() -> None:
    assert printable("a  b\tc") == "a  b    c"
    assert printable("می\u200cخواهم 👩\u200d🚀") == "می\u200cخواهم 👩\u200d🚀"
    assert one_line("a" * 900, 500) == "a" * 500


def test_lines_keep_their_ends(capsys: pytest.CaptureFixture[str]) -> None:
    echo("one\x1b]0;pwned\x07\ntwo", mark="\x1b[1m")  # click takes colors away where there is no terminal
    assert capsys.readouterr().out == "one?]0;pwned?\ntwo\n"


def test_a_code_page_and_closed_streams_end_no_run(bundle: Path, photo: Path, tmp_path: Path) -> None:
    image = photo.with_name(NAME)
    image.write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    done = run("infer", str(image), str(photo), "--classes", "red", "犬", "--out", str(out), bundle=bundle)
    assert done.returncode == 0, done.stderr
    assert b"\\u72ac" in done.stdout and b"\x1b" not in done.stdout + done.stderr
    done.stdout.decode("ascii")
    assert len([path for path in out.iterdir() if path.suffix == ".png"]) == 6
    silent = run("infer", str(photo), "--classes", "red", "--out", str(tmp_path / "b"), shell="2>&- <&-", bundle=bundle)
    assert silent.returncode == 0 and len(list((tmp_path / "b").glob("*.png"))) == 2
    closed = run("infer", str(photo), "--classes", "red", "--json", shell=">&-", bundle=bundle)
    assert closed.returncode == 1 and b"standard output is closed" in closed.stderr
    piped = run("infer", "-", "--classes", "red", "--json", shell="<&-", bundle=bundle)
    assert piped.returncode == 1 and b"standard input is closed" in piped.stderr


NOISY = """
import ctypes, os, sys
from clsclip_runtime import segmenter
from clsclip_runtime.cli.infer import main
load = segmenter.Segmenter.load
def noisy(*arguments, **options):
    print("EP Error \\x1b[31m")
    os.write(1, b"from C, at once\\n")
    ctypes.CDLL(None).puts(b"from C, when its buffer is written")
    return load(*arguments, **options)
segmenter.Segmenter.load = noisy
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="a C library of POSIX")
def test_json_is_alone_whatever_a_library_prints(bundle: Path, photo: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            NOISY,
            str(photo),
            "--classes",
            "red",
            "--json",
            "--model",
            str(bundle),
            "--backend",
            "onnxruntime-cpu",
        ],
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["classes"][0]["name"] == "red"
    assert all(text in done.stderr for text in (b"EP Error", b"at once", b"when its buffer"))


def test_the_doctor_prints_everywhere(bundle: Path) -> None:
    for encoding in ("ascii:strict", "cp1252:strict", "gbk:strict"):
        done = run("doctor", encoding=encoding, bundle=bundle)
        assert done.returncode == 0 and b"onnxruntime-cpu" in done.stdout, done.stderr
