"""Wall time of 20 words in one picture: the C++ runtime through its C API beside the Python one, in the same engine.

    make cpp && python benchmarks/cpp/time_words.py [--backend onnxruntime-cpu] [--rounds 30]

The two take turns, so that what else the machine does hits both. Both give all masks at the picture's size.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from clsclip_runtime import Segmenter, open_image
from tests.cpp.c_api import ROOT, CSegmenter, backends

WORDS = [
    *("bottle", "boat", "dog", "fish", "pizza", "snake", "tree", "person", "car", "teddy bear"),
    *("cat", "horse", "sofa", "bus", "apple", "clock", "house", "key", "hammer", "crown"),
]


def main() -> None:
    """Print medians in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default=None, choices=backends(), help="default: the first that both have")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    name = asked.backend or backends()[0]
    bundle = ROOT / "runtime" / "clsclip_runtime" / "models" / "stickers.clsclip"
    image = np.ascontiguousarray(np.asarray(open_image(ROOT / "examples" / "cluttered.png").image))
    cpp = CSegmenter(bundle, name, threads=asked.threads)
    with Segmenter.load(bundle, backend=name, threads=asked.threads) as python:
        runs: dict[str, Callable[[], object]] = {
            "python": lambda: python(image, WORDS, presence_threshold=0.0).masks,
            "c++": lambda: cpp(image, WORDS, presence_threshold=0.0).masks,
        }
        taken: dict[str, list[float]] = {key: [] for key in runs}
        for number in range(asked.rounds + 3):
            for key, run in runs.items():
                start = time.perf_counter()
                run()
                if number >= 3:
                    taken[key].append((time.perf_counter() - start) * 1000)
    for key, values in taken.items():
        print(f"{key:7} {name}: median {np.median(values):.1f} ms, best {min(values):.1f} ms of {len(values)} rounds")
    print(f"c++ / python: {np.median(taken['c++']) / np.median(taken['python']):.3f}")


if __name__ == "__main__":
    main()
