"""Measure what the simulation is fed with: milliseconds, operations and bytes of an image, by step.

python -m benchmarks.scaling.measure --out benchmarks/scaling/measured.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clsclip_bench.operations import count_operations
from clsclip_runtime import Segmenter
from clsclip_runtime.documents import DATA_FILE, parse_json
from clsclip_runtime.images import open_image
from clsclip_runtime.text.words import clean_classes
from clsclip_serve.batch.job import Job
from clsclip_serve.batch.places import Place
from clsclip_serve.batch.rows import Rows
from clsclip_serve.batch.schema import row_of
from clsclip_serve.batch.shards import Writer
from clsclip_serve.batch.sources import Reader

EXAMPLE = Path(__file__).parents[2] / "examples" / "cluttered.png"
WORDS = ["bottle", "boat", "dog", "fish", "pizza", "cat", "tree", "car", "bird", "apple"]


def timed(run: Any, times: int) -> float:
    """Median milliseconds of a call."""
    run()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    return 1000 * statistics.median(found)


def measure(folder: Path, times: int) -> dict[str, Any]:
    file = io.BytesIO()
    Image.open(EXAMPLE).convert("RGB").save(file, "JPEG", quality=90)  # noqa: TID251 (its own example)
    content = file.getvalue()
    begun = time.perf_counter()
    segmenter = Segmenter.load(None, "onnxruntime-cpu", threads=1, word_cache=False)
    load = time.perf_counter() - begun
    image = open_image(content)
    features = segmenter.set_image(image)
    all_words = {"presence_threshold": 0.0, "presence_filter": False}
    one, many = (
        timed(lambda words=words: segmenter.predict(words, image=features, **all_words), times)
        for words in (WORDS[:1], WORDS)
    )
    result = segmenter(image, WORDS, presence_filter=False)
    row = row_of("images/0001.jpg", result)
    text = json.dumps(row)
    job = Job.of_model(None, clean_classes(WORDS), backend="onnxruntime-cpu", threads=1)
    rows = Rows(job, Reader("", ("path", "bytes")))
    whole = timed(lambda: list(rows.of([("a", content)])), times)
    rows.close()
    writer = Writer(Place.from_address(str(folder)), {"classes": []}, rows=1000, seconds=1e6)
    begun = time.perf_counter()
    for number in range(2000):
        writer.add(parse_json(text, DATA_FILE) | {"path": f"images/{number:08}.jpg"})
    writer.flush()
    driver = (time.perf_counter() - begun) / 2000
    bundle = segmenter.bundle.folder
    encoder = count_operations(bundle / "image_encoder.onnx").at(C=1)
    presence = count_operations(bundle / "presence.onnx").at(C=1, K=1)
    trunk = [count_operations(bundle / "trunk.onnx").at(C=1, K=number, P=number) for number in (1, 2)]
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "model": segmenter.bundle.manifest.name,
        "words": len(WORDS),
        "ms": {
            "decode": timed(lambda: open_image(content), times),
            "features": timed(lambda: segmenter.set_image(image), times),
            "word": (many - one) / (len(WORDS) - 1),
            "masks": timed(lambda: row_of("a", segmenter.predict(WORDS, image=features, **all_words)), times) - many,
            "whole": whole,
            "driver_row": 1000 * driver,
        },
        "start_s": load,
        "bytes": {
            "image": len(content),
            "pixels": 3 * int(np.prod(image.size)),
            "row": len(text),
            "table_row": len(zlib.compress(text.encode())),
            "bundle": sum(path.stat().st_size for path in segmenter.bundle.folder.iterdir()),
        },
        "operations": {"image": encoder, "presence_word": presence, "word": trunk[1] - trunk[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.times)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
