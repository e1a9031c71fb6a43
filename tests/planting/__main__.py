"""Plant mistakes in the modules that call CUDA and TensorRT, one at a time, and run their tests on each.

    python -m tests.planting [--module cuda] [--every 1] [--jobs 2]

Prints how many were planted and found, and every one that no test finds; exit code 1 if there is one. A mistake runs in
a process of its own, forked from one that has loaded the libraries, and never touches the files of the project.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from .mistakes import KINDS, Mistake, mistakes

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
"""A mistake may hang; then it is found too."""

OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Libraries are loaded before pytest could rewrite their asserts."""

TESTS = "tests/runtime/backends"


@dataclass(frozen=True)
class Target:
    """A module and the tests that must find every mistake in it.

    Attributes:
        module: its name.
        tests: files, the quickest first.
        known: what is no mistake: (kind, what) to the reason.
    """

    module: str
    tests: tuple[str, ...]
    known: dict[tuple[str, str], str]


TARGETS = {
    "cuda": Target("clsclip_runtime.backends.cuda.calls", (f"{TESTS}/cuda/test_calls.py",), {}),
    "device": Target(
        "clsclip_runtime.backends.cuda.device",
        (f"{TESTS}/cuda/test_device.py",),
        {
            ("dropped argument", "np.uint8 in copy.reshape(-1).view(np.uint8)"): "memory and bytes are the same",
            (
                "dropped argument",
                "np.uint8 in np.ascontiguousarray(array[rows]).reshape(-1).view(np.uint8)",
            ): "memory and bytes are the same",
        },
    ),
    "worker": Target(
        "clsclip_runtime.backends.tensorrt.worker",
        (f"{TESTS}/tensorrt/test_backend.py", f"{TESTS}/test_kept.py"),
        {
            ("dropped statement", "self._buffers.clear()"): "nobody uses a worker that was closed",
            ("dropped argument", "np.uint8 in value.reshape(-1).view(np.uint8)"): "memory and bytes are the same",
        },
    ),
}


class Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module from the source that it was given."""

    def __init__(self, name: str, path: str, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """The module, if it is the one."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the source."""
        exec(compile(self.source, self.path, "exec"), module.__dict__)


class FirstFailure:
    """A plugin of pytest: which test failed first."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note it."""
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported is a failure as well."""
        if report.failed and not self.name:
            self.name = f"{report.nodeid} (import)"


def test_planted(target: Target, path: str, source: str, found: str) -> None:
    """Run the tests on ``source`` in this process; writes what failed to ``found``. Never returns."""
    code = 99
    try:
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.meta_path.insert(0, Planted(target.module, path, source))
        failure = FirstFailure()
        code = int(pytest.main([*OPTIONS, *target.tests], [failure]))
        Path(found).write_text(failure.name, "utf-8")
    except BaseException as error:
        Path(found).write_text(f"{type(error).__name__}", "utf-8")
    finally:
        os._exit(code)


test_planted.__test__ = False  # type: ignore[attr-defined]


def run(target: Target, path: str, planted: Sequence[Mistake], jobs: int) -> Iterator[tuple[Mistake, str]]:
    """Every mistake and what found it; nothing where it was not found."""
    with tempfile.TemporaryDirectory() as folder:
        waiting, running = list(planted)[::-1], {}
        while waiting or running:
            while waiting and len(running) < jobs:
                mistake, note = waiting.pop(), f"{folder}/{len(waiting)}"
                pid = os.fork()
                if pid == 0:
                    test_planted(target, path, mistake.source, note)
                running[pid] = mistake, note, time.monotonic()
            for pid, (mistake, note, since) in [*running.items()]:
                done, status = os.waitpid(pid, os.WNOHANG)
                if not done and time.monotonic() - since > SECONDS:
                    os.kill(pid, signal.SIGKILL)
                    done, status = os.waitpid(pid, 0)
                if done:
                    del running[pid]
                    yield mistake, what_found(status, note)
            time.sleep(0.01)


def what_found(status: int, note: str) -> str:
    """The test that failed, or how the process ended; nothing where all tests passed."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"no end after {SECONDS} s" if number == signal.SIGKILL else f"signal {number}"
    with contextlib.suppress(OSError):
        if os.waitstatus_to_exitcode(status):
            return Path(note).read_text("utf-8") or "the run"
    return ""


def path_of(module: str) -> Path:
    """The file of a module, none of whose packages is imported: children must do that themselves."""
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"there is no package {package}")
    path = Path(spec.origin).parent.joinpath(*rest)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def table(rows: Counter[tuple[str, str]]) -> str:
    """Planted, found and survived by kind."""
    lines = ["| mistake | planted | found | survived |", "|---|---:|---:|---:|"]
    for kind in (*KINDS, "all"):
        found, lived = (sum(rows[k, end] for k in ([kind] if kind != "all" else KINDS)) for end in ("found", "lived"))
        lines.append(f"| {kind} | {found + lived} | {found} | {lived} |")
    return "\n".join(lines)


def plant(name: str, target: Target, every: int, jobs: int, *, verbose: bool) -> int:
    """One module; gives how many mistakes nobody found."""
    path = path_of(target.module)
    source = path.read_text("utf-8")
    start, rows = time.monotonic(), Counter[tuple[str, str]]()
    unchanged = Mistake("", 0, "nothing", lambda: source)
    for _, found in run(target, str(path), [unchanged], 1):
        if found:
            raise SystemExit(f"the tests fail without a mistake: {found}")
    chosen = [one for one in mistakes(source) if (one.kind, one.what) not in target.known][::every]
    lived = []
    for mistake, found in run(target, str(path), chosen, jobs):
        rows[mistake.kind, "found" if found else "lived"] += 1
        if verbose:
            print(f"  {name}:{mistake.line}: {mistake.kind}: {mistake.what}: {found}", flush=True)
        if not found:
            lived.append(mistake)
            print(f"  SURVIVED {name}:{mistake.line}: {mistake.kind}: {mistake.what}", flush=True)
    left_out = f"; {len(target.known)} are no mistakes" if target.known else ""
    print(f"{target.module}, by {', '.join(target.tests)}, {time.monotonic() - start:.0f} s{left_out}")
    print(table(rows), flush=True)
    return len(lived)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.planting", description=__doc__)
    parser.add_argument("--module", action="append", choices=[*TARGETS])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth mistake")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--verbose", action="store_true", help="say which test found what")
    options = parser.parse_args()
    os.chdir(ROOT)
    for library in ("hypothesis", "numpy", "onnx", "onnxruntime", "PIL.Image", "tokenizers", "click"):
        importlib.import_module(library)  # once for all: children find them loaded
    lived = sum(
        plant(name, TARGETS[name], options.every, options.jobs, verbose=options.verbose)
        for name in options.module or TARGETS
    )
    print("every mistake was found" if not lived else f"{lived} mistakes were not found")
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main())
