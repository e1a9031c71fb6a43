"""Class names: metadata and files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.detectors import COCO_NAMES, read_names
from clsclip_runtime.detectors.names import parse_names
from clsclip_runtime.errors import DetectorError
from clsclip_runtime.options import is_name


def test_names_of_metadata() -> None:
    assert parse_names("{0: 'person', 1: 'hot dog'}", "x") == ("person", "hot dog")
    assert parse_names("['a', 'b']", "x") == ("a", "b")
    wrong = (
        "",
        "{1: 'a'}",
        "{0: 3}",
        "[]",
        "{'0': 'a'}",
        "open('x')",
        "{0: 'a'",
        "(" * 3000,
        "7",
        "[' ']",
        "['a\\x1bb']",
    )
    for text in wrong:
        with pytest.raises(DetectorError, match=r"Give them: names="):
            parse_names(text, "x")


@given(st.text(max_size=60))
def test_any_text_as_names(text: str) -> None:
    try:
        names = parse_names(text, "x")
    except DetectorError:
        return
    assert names
    assert all(is_name(name, 256) for name in names)


FILES = {
    "lines": "person\n hot dog \n\ncar\n",
    "json list": '["person", "hot dog", "car"]',
    "json numbers": '{"1": "hot dog", "0": "person", "2": "car"}',
    "json names": '\ufeff{"names": {"0": "person", "1": "hot dog", "2": "car"}, "nc": 3}',
    "yaml numbers": "path: x # where\nnames:\n  0: person # a comment\n  1: 'hot dog'\n\n  2: car\nnc: 3\n",
    "yaml dashes": 'nc: 3\nnames:\n- person\n- "hot dog"\n- car\ntrain: x\n',
    "yaml flow": "names: [person, 'hot dog',\n  car]  # three\nval: y\n",
    "yaml flow by number": "names: {0: person, 1: hot dog, 2: car}\n",
    "windows": "person\r\nhot dog\r\ncar\r\n",
}


@pytest.mark.parametrize("kind", FILES)
def test_files_of_names(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(FILES[kind].encode("utf-8"))
    assert read_names(path) == ("person", "hot dog", "car")
    assert read_names(str(path)) == ("person", "hot dog", "car")


def test_yaml_is_yaml(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML, the reference, is not installed")
    path = tmp_path / "data.yaml"
    for kind in (kind for kind in FILES if "yaml" in kind):
        names = yaml.safe_load(FILES[kind])["names"]
        path.write_text(FILES[kind])
        assert list(read_names(path)) == list(names.values() if isinstance(names, dict) else names)
    odd = "names:\n  0: it's\n  1: 'a, b'\n"
    path.write_text(odd)
    assert dict(enumerate(read_names(path))) == yaml.safe_load(odd)["names"]
    odd = "names: ['a, b', \"it's\"]\n"
    path.write_text(odd)
    assert list(read_names(path)) == yaml.safe_load(odd)["names"]


def test_names_that_are_given() -> None:
    assert read_names(["a", " b  c "]) == ("a", "b c")
    assert read_names("coco") == COCO_NAMES
    assert (len(COCO_NAMES), len(set(COCO_NAMES)), COCO_NAMES[0], COCO_NAMES[79]) == (80, 80, "person", "toothbrush")
    for wrong in ([], ["a", 3], ["a", ""], ["x" * 257]):
        with pytest.raises(DetectorError, match="Give them"):
            read_names(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not numbered from 0"),
        (b"[1]", "not numbered"),
        (b"{", "not valid JSON"),
        (b'{"1": "a"}', "not numbered"),
        (b'{"names": 3}', "not numbered"),
        (b'{"0": "a", "00": "b"}', "not numbered"),
        (b"names: data.txt\n", "not numbered"),
        (b"names:\n  1: a\n", "not numbered"),
        (b"names:\n", "not numbered"),
        (b"names: [\n", "not numbered"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a\0b", "control characters"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)  # fmt: skip
def test_bad_files_of_names(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(content)
    with pytest.raises(DetectorError, match=message):
        read_names(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no such file of class names"):
        read_names(tmp_path / "none")
    with pytest.raises(DetectorError, match="cannot be read"):
        read_names(tmp_path)
    with pytest.raises(DetectorError, match="is over 4 MiB"):  # it has no size, and no end
        read_names("/dev/zero")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 23)
    with pytest.raises(DetectorError, match="over 4 MiB"):
        read_names(large)


@given(st.text(max_size=80).map(lambda text: "names:" + text))
def test_any_yaml(text: str) -> None:
    from clsclip_runtime.detectors.names import _checked, _from_yaml

    with contextlib.suppress(DetectorError):
        assert all(_checked(_from_yaml(text), "x"))
