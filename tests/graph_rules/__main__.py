"""Write ``graph_rules.json`` from real exports. It takes some minutes.

``python -m tests.graph_rules``: all; ``--folder DIR``: further detectors, as ONNX files, beside those that are made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.graph_rules.detectors import exports as detectors
from tests.graph_rules.observed import FILE, Observed, write


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m tests.graph_rules", description=__doc__)
    parser.add_argument("--folder", type=Path, action="append", default=[], help="holds detectors of other exporters")
    parser.add_argument("--only", choices=("bundles", "detectors"), help="leave the other list as it is")
    given = parser.parse_args()
    found: dict[str, Observed] = {}
    if given.only != "detectors":
        from tests.graph_rules.bundles import exports as bundles

        found["bundles"] = Observed().of(bundles())
    if given.only != "bundles":
        found["detectors"] = Observed().of(detectors(given.folder))
    write(FILE, found)
    for name, one in found.items():
        print(f"{name}: {one.graphs} graphs, {len(one.operators)} operators")


if __name__ == "__main__":
    main()
