"""Temporary names: new, locked, never through a link; what killed processes left is swept, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clsclip_runtime import scratch, system
from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import append_line, write_text
from clsclip_runtime.scratch import PartFile, part_folder, sweep

posix = pytest.mark.skipif(os.name != "posix", reason="locks and links are those of POSIX")

DIES = """
import os, signal, sys
from pathlib import Path
from clsclip_runtime.scratch import PartFile, part_folder
file = PartFile(Path(sys.argv[1]) / "a.mp4")
file.file.write(b"half")
folder = part_folder(Path(sys.argv[1]) / "b")
(folder.__enter__() / "c").write_text("half")
print("here", flush=True)
signal.pause()
"""


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if scratch.is_scratch(path.name)]


def test_a_file_has_its_name_when_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    part = PartFile(path)
    part.file.write(b"all")
    assert leftovers(tmp_path) == [part.part]
    assert part.part.suffix == ".mp4"
    part.keep()
    part.discard()
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], b"all")
    other = PartFile(path)
    other.file.write(b"half")
    other.discard()
    other.discard()
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], b"all")


@pytest.mark.parametrize("suffix", [".tar.gz", ".犬", "." + "x" * 20, ".", ""])
def test_every_temporary_name_is_one_that_is_swept(tmp_path: Path, suffix: str) -> None:
    part = PartFile(tmp_path / f"a{suffix}")
    assert leftovers(tmp_path) == [part.part]
    part.discard()


@posix
def test_a_link_is_never_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("old")
    (tmp_path / "out").mkdir()
    link = tmp_path / "out" / "a.png"
    link.symlink_to(precious)
    write_text(link, "new")  # the link is replaced
    assert (precious.read_text(), link.read_text(), link.is_symlink()) == ("old", "new", False)
    link.unlink()
    link.symlink_to(precious)
    with pytest.raises(FileExistsError):
        system.create(link)
    with pytest.raises(OutputError, match="cannot write"):
        append_line(link, "new")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="cannot write"):
        append_line(tmp_path / "pipe", "new")
    assert precious.read_text() == "old"


def test_lines_are_appended_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    threads = [threading.Thread(target=lambda: [append_line(path, "x" * 5000) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text().splitlines() == ["x" * 5000] * 80


@posix
def test_what_a_killed_process_left_is_swept_and_what_is_in_use_stays(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", DIES, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        assert len(leftovers(tmp_path)) == 2
        assert sweep(tmp_path) == 0
        assert len(leftovers(tmp_path)) == 2
        process.send_signal(signal.SIGKILL)
    assert sweep(tmp_path) == 2
    assert list(tmp_path.iterdir()) == []
    assert sweep(tmp_path / "none") == 0


@posix
def test_nothing_else_is_swept(tmp_path: Path) -> None:
    name = ".clsclip-0123456789abcdef.part"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / f"{name}.mp4")
    for other in (".part", f"{name}.mp4.mp4", f"x{name}", ".0123456789abcdef.part", "a.part"):
        (tmp_path / other).touch()
    before = sorted(tmp_path.rglob("*"))
    assert sweep(tmp_path) == 0
    assert sorted(tmp_path.rglob("*")) == before


@posix
def test_without_locks_age_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "lock", lambda _: None)
    new, old = (tmp_path / f".clsclip-{digit * 16}.part" for digit in "12")
    new.touch()
    old.touch()
    os.utime(old, (0, 0))
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [new]


def test_a_folder_may_take_its_name_or_go(tmp_path: Path) -> None:
    with part_folder(tmp_path / "a") as part:
        (part / "x").write_text("new")
        part.replace(tmp_path / "a")
    with part_folder(tmp_path / "a") as part:
        (part / "x").write_text("half")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "x"]
    assert (tmp_path / "a" / "x").read_text() == "new"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps names")
def test_names_are_swapped_in_one_step(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    assert system.exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "x").read_text() for name in "ab"] == ["b", "a"]
    with pytest.raises(FileNotFoundError):
        system.exchange(tmp_path / "a", tmp_path / "none")


@posix
def test_a_process_is_limited() -> None:
    program = (
        "from clsclip_runtime import system\n"
        "system.limit_process(memory_bytes=1 << 30, seconds=1)\n"
        "try:\n    bytearray(1 << 31)\nexcept MemoryError:\n    print('refused', flush=True)\n"
        "while True:\n    pass\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) in ((-signal.SIGKILL, "refused\n"), (-signal.SIGXCPU, "refused\n"))
