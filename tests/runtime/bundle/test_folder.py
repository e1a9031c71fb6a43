from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clsclip_runtime.bundle.folder import file_entries, staged_folder
from clsclip_runtime.errors import OutputError


def test_the_folder_stands_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "model.clsclip"
    with staged_folder(out) as folder:
        (folder / "a").write_text("new")
        assert not out.exists()
    assert (out / "a").read_text() == "new"
    assert out.stat().st_mode & 0o777 == 0o755
    assert [one.name for one in out.parent.iterdir()] == ["model.clsclip"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "model.clsclip"
    out.mkdir()
    (out / "a").write_text("old")
    with pytest.raises(KeyError), staged_folder(out, force=True) as folder:
        (folder / "a").write_text("new")
        raise KeyError
    assert (out / "a").read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["model.clsclip"]


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling link"])
def test_what_exists_is_replaced_only_by_force(tmp_path: Path, kind: str) -> None:
    out, elsewhere = tmp_path / "model.clsclip", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    if kind == "folder":
        out.mkdir()
        (out / "b").write_text("old")
    elif kind == "file":
        out.write_text("old")
    else:
        out.symlink_to(elsewhere if kind == "link" else tmp_path / "gone")
    with pytest.raises(OutputError, match="--force"), staged_folder(out):
        pytest.fail("the block ran")
    with staged_folder(out, force=True) as folder:
        (folder / "a").write_text("new")
    assert [one.name for one in out.iterdir()] == ["a"]
    assert not out.is_symlink()
    assert (elsewhere / "kept").read_text() == "kept"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["elsewhere", "model.clsclip"]


@pytest.mark.parametrize("swaps", [True, False])
def test_a_kill_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    """Killed at every change of a name: afterwards, and after the next that writes there, there is one of the two."""
    import os
    import signal

    from clsclip_runtime.bundle import folder as module

    def changes(after: int) -> bool:
        """Replace the folder in a child that is killed before its change of a name with this number."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        left, rename, swap = [after], os.rename, module.exchange

        def counted(*names: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*names)  # type: ignore[arg-type]

        def swapped(one: Path, other: Path) -> bool:
            if not swaps:
                return False
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return swap(one, other)

        os.rename = os.replace = counted  # type: ignore[assignment]
        module.exchange = swapped
        with staged_folder(tmp_path / "model.clsclip", force=True) as folder:
            (folder / "a").write_text("new")
        os._exit(0)

    out, number, killed = tmp_path / "model.clsclip", 0, True
    while killed:
        out.mkdir(exist_ok=True)
        (out / "a").write_text("old")
        killed = changes(number)
        if not out.exists():
            assert not swaps, "where names can be swapped there always is a folder"
            with pytest.raises(OutputError, match="--force"), staged_folder(out):
                pytest.fail("the block ran")
        assert (out / "a").read_text() in (("old", "new") if killed else ("new",))
        number += 1
    assert number > (1 if swaps else 3)
    with staged_folder(out, force=True) as folder:
        (folder / "a").write_text("newer")
    assert [one.name for one in tmp_path.iterdir()] == ["model.clsclip"], "nothing is left behind"


def test_a_target_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"), staged_folder(tmp_path / "file" / "model.clsclip"):
        pytest.fail("the block ran")


def test_entries_are_of_all_files_but_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"content")
    (tmp_path / "manifest.json").write_text("{}")
    assert file_entries(tmp_path) == {"deep/a": {"sha256": hashlib.sha256(b"content").hexdigest(), "bytes": 7}}
