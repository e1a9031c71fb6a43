"""Whether the very first calls of fresh processes are right, from one thread and from several at once.

    python -m benchmarks.first_calls [--model DIR] [--processes 100] [--threads 1 --threads 8] [--engine NAME ...]

Engines keep state that they make in their first calls, and a race there shows in no warm test. Every process loads the
model, lets all its threads begin at once, and each asks two words of its own. The masks are compared with those of one
warm thread of ONNX Runtime. Without ``--model`` a model of random weights at ViT-B/16's size is made. C++ runs through
its C API. The command ends with 1 where a mask differs, a process fails, or an engine that was named is not here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from clsclip_bench.ours import made_image, words
from clsclip_runtime.paths import is_file

ROOT = Path(__file__).resolve().parents[1]
CPP = "cpp:"
WORDS = 2
"""Of each thread."""

LEAST_IOU = 0.999
"""Of a mask with the reference's: engines differ in the last digits alone."""

Masks = npt.NDArray[np.bool_]


def ask(engine: str, model: Path) -> Callable[[list[str]], Masks]:
    """Load ``model`` into an engine; the function gives the masks (K, H, W) of K words."""
    image = made_image(224, 224)
    if engine.startswith(CPP):
        from tests.cpp.c_api import CSegmenter

        own = CSegmenter(model, engine.removeprefix(CPP), threads=0)
        return lambda asked: own(image, asked, presence_filter=0, presence_threshold=0.0).masks
    from clsclip_runtime import Segmenter

    segmenter = Segmenter.load(model, engine, word_cache=False)
    return lambda asked: segmenter(image, asked, presence_filter=False).masks


def first_masks(engine: str, model: Path, threads: int) -> Masks:
    """The masks of the first calls, one from each thread, all begun at once."""
    segment = ask(engine, model)
    every = words(WORDS * threads)
    found: list[Masks | BaseException | None] = [None] * threads
    begin = threading.Barrier(threads)

    def call(number: int) -> None:
        begin.wait()
        try:
            found[number] = segment(every[WORDS * number : WORDS * (number + 1)])
        except BaseException as error:
            found[number] = error

    running = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return np.concatenate([one for one in found if isinstance(one, np.ndarray)])


def reference(model: Path, count: int) -> Masks:
    """The masks of so many words, each asked alone of a warm engine."""
    segment = ask("onnxruntime-cpu", model)
    every = words(count)
    segment(every[:1])
    return np.concatenate([segment([word]) for word in every])


def least_iou(found: Masks, wanted: Masks) -> float:
    """The worst agreement of any mask; two empty ones agree."""
    both = (found & wanted).sum(axis=(1, 2))
    either = (found | wanted).sum(axis=(1, 2))
    return float(np.where(either == 0, 1, both / np.maximum(either, 1)).min())


def engines() -> list[str]:
    """Those that run on this machine's CPU: Python's, and those of the C++ library where it is built."""
    from clsclip_runtime.libraries import installed

    found = ["onnxruntime-cpu", *(["openvino"] if installed("openvino") else [])]
    if is_file(ROOT / "build" / "cpp" / "libclsclip.so"):
        from tests.cpp.c_api import backends

        found += [f"{CPP}{name}" for name in backends() if name in ("openvino", "onnxruntime-cpu")]
    return found


def fresh(engine: str, model: Path, threads: int, masks: Path) -> str:
    """One process: how it went, in a word, with what it got wrong."""
    command = [sys.executable, "-m", "benchmarks.first_calls", "--model", str(model), "--wanted", str(masks)]
    done = subprocess.run(
        [*command, "--worker", engine, "--threads", str(threads)], cwd=ROOT, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        return f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    iou = json.loads(done.stdout.splitlines()[-1])["least_iou"]
    return "right" if iou >= LEAST_IOU else f"wrong: mask IoU {iou:.4f}"


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Bundle; else one is made in --work.")
@click.option("--work", default=Path("build/benchmarks"), type=click.Path(path_type=Path), show_default=True)
@click.option("--processes", default=100, show_default=True, type=click.IntRange(1), help="Of each row.")
@click.option("--threads", "counts", multiple=True, default=(1, 8), show_default=True, type=click.IntRange(1, 64))
@click.option("--engine", "asked", multiple=True, help="Engines; all that are here without it.")
@click.option("--worker", hidden=True)
@click.option("--wanted", hidden=True, type=click.Path(path_type=Path))
def main(
    model: Path | None,
    work: Path,
    processes: int,
    counts: tuple[int, ...],
    asked: tuple[str, ...],
    worker: str | None,
    wanted: Path | None,
) -> None:
    """Run fresh processes of every engine, and compare the masks of their first calls."""
    if model is None:
        from benchmarks.peers.material import bundle_of

        model = bundle_of(work)
    if worker is not None and wanted is not None:
        right = np.load(wanted, allow_pickle=False)
        masks = first_masks(worker, model, counts[0])
        click.echo(json.dumps({"least_iou": least_iou(masks, right[: len(masks)])}))
        return
    here = engines()
    missing = [one for one in asked if one not in here]
    if missing:
        raise click.UsageError(f"not here: {', '.join(missing)}. There are: {', '.join(here)}")
    kept = work / "first_calls.npy"
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, reference(model, WORDS * max(counts)), allow_pickle=False)
    failed = False
    for engine in asked or here:
        for threads in counts:
            begin = time.monotonic()
            outcomes: dict[str, int] = {}
            for _ in range(processes):
                outcome = fresh(engine, model.resolve(), threads, kept.resolve())
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
            failed = failed or set(outcomes) != {"right"}
            told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
            click.echo(f"{engine:22} {threads} threads  {told}  ({time.monotonic() - begin:.0f} s)")
    if failed:
        raise click.ClickException("first calls are not right")


if __name__ == "__main__":
    main()
