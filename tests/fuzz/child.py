"""The process that forks for every mutant: ``python -m tests.fuzz.child TARGET SECONDS ADDRESSES``.

Paths come as JSON on standard input, a line each, and outcomes go to standard output in the same way. What a library
prints goes to neither.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from clsclip.errors import ClsclipError
from clsclip_runtime.errors import ClsclipRuntimeError
from tests.fuzz.driver import wait
from tests.fuzz.targets import TARGETS, Target


def outcome(target: Target, path: Path) -> dict[str, Any]:
    """What a target makes of ``path``."""
    try:
        return {"kind": "ok", "result": target.read(path)}
    except (ClsclipRuntimeError, ClsclipError) as error:
        return {"kind": "refused", "message": f"{type(error).__name__}: {str(error)[:600]}"}
    except BaseException as error:
        where = traceback.format_exc()[-900:]
        return {"kind": "raised", "message": f"{type(error).__name__}: {str(error)[:300]}\n{where}"}


def forked(target: Target, path: Path, seconds: float, addresses: int) -> dict[str, Any]:
    """The outcome of a fork, with its time and its peak of memory."""
    reading, writing = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.write(writing, json.dumps(outcome(target, path)).encode()[:60000])
        finally:
            os._exit(0)
    os.close(writing)
    status, peak, hung = wait(pid, begun + seconds)
    told = os.read(reading, 1 << 16)
    os.close(reading)
    found: dict[str, Any] = {"seconds": time.monotonic() - begun, "bytes": peak}
    if hung:
        return found | {"kind": "hung", "message": f"over {seconds:g} s"}
    if os.WIFSIGNALED(status) or not told:
        return found | {"kind": "crashed", "message": f"signal {os.WTERMSIG(status)}"}
    return found | json.loads(told)


def main() -> None:
    """Serve until standard input ends."""
    target, seconds, addresses = TARGETS[sys.argv[1]], float(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    target.prepare()
    for line in sys.stdin:
        answers.write(json.dumps(forked(target, Path(json.loads(line)), seconds, addresses)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
