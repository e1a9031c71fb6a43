"""A campaign: ``python -m tests.fuzz KIND [--target NAME] [--count N] [--first N] [--jobs N] [--tool PATH]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.driver import Child, Command, Report, campaign
from tests.fuzz.mutators import MUTATORS
from tests.fuzz.targets import COMMANDS, TARGETS

BUILD = Path(__file__).parents[2] / "build" / "cpp"
TOOL = BUILD / "installed" / "bin" / "clsclip-infer-cpp"
TOOLS = BUILD / "tools"


def run(kind: str, target: str, numbers: range, tool: Path) -> Report:
    """One campaign in one process."""
    mutator = MUTATORS[kind]()
    reader: Child | Command
    if target in COMMANDS:
        reader = Command(
            [part.replace("{tool}", str(tool)).replace("{tools}", str(TOOLS)) for part in COMMANDS[target]]
        )
    else:
        reader = Child(target)
    try:
        with tempfile.TemporaryDirectory(prefix="clsclip-fuzz-") as scratch:
            return campaign(mutator, reader, numbers, scratch=Path(scratch))
    finally:
        reader.close()


def _placed(part: str, places: Mapping[str, str]) -> str:
    for name, place in places.items():
        part = part.replace(name, place)
    return part


def main() -> int:
    """Run it and print the figures; 1 where there are faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kind", choices=sorted(MUTATORS), nargs="?")
    parser.add_argument("--kinds", action="store_true", help="print every kind, and end")
    parser.add_argument("--target", choices=sorted({*TARGETS, *COMMANDS}), help="all that read this kind if not given")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tool", type=Path, default=TOOL, help="the C++ tool")
    given = parser.parse_args()
    if given.kinds:
        print(*sorted(MUTATORS))
        return 0
    if given.kind is None:
        parser.error("name a kind of file")
    faults = 0
    for target in [given.target] if given.target else MUTATORS[given.kind].targets:
        parts = [range(given.first + at, given.first + given.count, given.jobs) for at in range(given.jobs)]
        with ThreadPoolExecutor(given.jobs) as pool:
            reports = list(pool.map(lambda part, name=target: run(given.kind, name, part, given.tool), parts))
        whole = Report()
        for one in reports:
            whole.counts += one.counts
            whole.faults += one.faults
        print(f"{given.kind}, {target}:", *whole.lines(), sep="\n", flush=True)
        faults += len(whole.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
