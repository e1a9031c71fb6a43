"""Run the code of one page, in order, in a folder of its own: ``python -m tests.pages.page PAGE WORK``.

Programs in Python share their names, as cells of a notebook do. The first error ends the page, with exit code 1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.pages.blocks import ROOT, Block, blocks
from tests.pages.material import lay_out

SHELL = ("bash", "-euo", "pipefail", "-c")
MOST_SECONDS = 1800
"""Of one command: one that does not end, such as a server, is a fault of the page."""


def run_page(path: Path, work: Path) -> int:
    """Run everything; the number of commands."""
    lay_out(work, path.read_text("utf-8"))
    os.chdir(work)
    names: dict[str, Any] = {"__name__": "__main__"}
    servers: list[subprocess.Popen[bytes]] = []
    count = 0
    try:
        for block in blocks(path):
            for at, command in enumerate(block.commands, 1):
                print(f"--- {block.page}:{block.line} ({block.language}) {command.strip().splitlines()[0]}", flush=True)
                begin = time.monotonic()
                if block.language == "python":
                    exec(compile(command, f"{block.page}:{block.line}", "exec"), names)
                elif block.serves and at == len(block.commands):
                    servers.append(serve(command, block.serves))
                else:
                    subprocess.run([*SHELL, command], check=True, stdin=subprocess.DEVNULL, timeout=MOST_SECONDS)
                print(f"    {time.monotonic() - begin:.1f} s", flush=True)
                count += 1
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
    return count


def serve(command: str, address: str) -> subprocess.Popen[bytes]:
    """Start a server; RuntimeError if it does not answer within 30 seconds, or if another one does already."""
    if answers(address):
        raise RuntimeError(f"{address} answers already: something else uses that port")
    server = subprocess.Popen([*SHELL, command], stdin=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 30
    while not answers(address):
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"nothing answers at {address}")
        time.sleep(0.1)
    return server


def answers(address: str) -> bool:
    """Whether something answers there."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def main() -> int:
    """Run the page that the arguments name."""
    page, work = (Path(argument).resolve() for argument in sys.argv[1:])
    try:
        run_page(page, work)
    except (subprocess.SubprocessError, RuntimeError) as error:
        print(f"FAILED: {error}", flush=True)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


__all__ = ["ROOT", "Block", "answers", "run_page", "serve"]

if __name__ == "__main__":
    sys.exit(main())
