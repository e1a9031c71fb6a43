"""Masks of the C++ runtime beside the Python one's, on 50 pictures of the sticker world and 20 photographs.

make cpp && python benchmarks/cpp/agreement.py [FOLDER OF PHOTOGRAPHS]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from clsclip_runtime import Segmenter
from tests.cpp.agreement import compare, photographs, sticker_images
from tests.cpp.c_api import ROOT, CSegmenter, backends


def main() -> None:
    """Print one line for every engine, kind of picture and search."""
    with Segmenter.load(backend="onnxruntime-cpu") as python:
        for backend in backends():
            cpp = CSegmenter(ROOT / "runtime" / "clsclip_runtime" / "models" / "stickers.clsclip", backend, threads=0)
            for zoom_in in (False, True):
                where = f"{backend}, {'zoom-in' if zoom_in else 'whole image'}"
                print(f"{where}, 50 sticker pictures: {compare(python, cpp, sticker_images(50), zoom_in=zoom_in)}")
                if len(sys.argv) > 1:
                    images = photographs(Path(sys.argv[1]), 20)
                    found = compare(python, cpp, images, zoom_in=zoom_in, threshold=0.0)
                    print(f"{where}, 20 photographs: {found}", flush=True)
            cpp.close()


if __name__ == "__main__":
    main()
