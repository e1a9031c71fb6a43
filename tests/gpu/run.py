"""Everything worth doing on a GPU, in one call of ten minutes, into one JSON.

    python -m tests.gpu.run --out benchmarks/results/NAME.json [--minutes 9]

What cannot be done is skipped with its reason; without a GPU that is all but the CPU's own rows, which show that the
script itself works. The JSON is written after every step, so a call that is cut short keeps what it found.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.doctor import examine
from clsclip_runtime.errors import BackendError
from tests.gpu import checks
from tests.gpu.kept import kept
from tests.gpu.material import PATHS, PRECISIONS, Material, make_material

Step = tuple[str, Callable[[], Any]]

ALSO_WITHOUT_GPU = "onnxruntime-cpu"


class Report:
    """The JSON, written after every step."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.document: dict[str, Any] = {"gpu": None, "steps": {}}

    def add(self, name: str, status: str, **figures: Any) -> None:
        """Note one step, print it, and write the file."""
        self.document["steps"][name] = {"status": status, **figures}
        click.echo(f"{status:8} {name:44} {figures.get('reason') or figures.get('figures') or ''}")
        self.out.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.out.with_name(f".{self.out.name}.tmp")
        scratch.write_text(json.dumps(self.document, indent=1) + "\n", "utf-8")
        os.replace(scratch, self.out)

    def count(self, status: str) -> int:
        """How many steps ended so."""
        return sum(step["status"] == status for step in self.document["steps"].values())


def steps(material: Material, folder: Path, report: Report, *, full_size: bool) -> Iterator[Step]:
    """Every step, what matters most first."""
    yield "torch, parity", lambda: checks.torch_on_gpu(material)
    for path in PATHS:
        for precision in PRECISIONS:
            yield f"{path}, {precision}, parity", lambda p=path, q=precision: checks.parity(p, q, material)
    for path in PATHS:
        yield f"{path}, fp16, kept", lambda p=path: kept(p, "fp16", material)
        yield f"{path}, fp16, threads", lambda p=path: checks.threads(p, "fp16", material)
        yield f"{path}, fp16, leaks", lambda p=path: checks.leaks(p, "fp16", material)
    if not full_size:
        return
    rates: dict[str, float] = {}
    yield "half product", lambda: rates.update(checks.half_product_rate()) or dict(rates)
    for path in PATHS:
        for precision in ("fp16", "fp32"):
            yield (
                f"{path}, {precision}, speed",
                lambda p=path, q=precision: checks.speed(p, q, folder, rates.get("fp16")),
            )


def run_step(report: Report, name: str, call: Callable[[], Any]) -> None:
    """One step: passed, failed, or skipped where something that it needs is not here."""
    start = time.perf_counter()
    try:
        figures = call()
    except (BackendError, LookupError, ImportError) as error:
        # On a machine with a GPU, TensorRT's and CUDA's own refusals must be seen, not passed over.
        status = "failed" if isinstance(error, BackendError) and works_here(name) else "skipped"
        report.add(name, status, reason=" ".join(str(error).split()))
    except Exception as error:
        report.add(name, "failed", reason=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
    else:
        report.add(name, "passed", figures=figures, seconds=round(time.perf_counter() - start, 2))


def works_here(name: str) -> bool:
    """Whether the path of a step can be made here at all: then its failing is a failure, and not a lack."""
    from clsclip_runtime.backends.select import BACKENDS
    from clsclip_runtime.backends.tensorrt.edition import find_edition

    path = name.partition(",")[0]
    if path == ALSO_WITHOUT_GPU:
        return "bf16" not in name  # ONNX Runtime has no BF16 for CPUs
    try:
        if path == "tensorrt-rtx":
            return False  # tried on whatever GPU is there; it knows only some
        if path == "tensorrt":
            find_edition(path)
        else:
            BACKENDS[path](None)
    except BackendError:
        return False
    return bool(ask_driver().gpus)


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="JSON to write.")
@click.option("--minutes", default=9.0, show_default=True, help="Steps that would begin later are skipped.")
@click.option("--full-size/--no-full-size", default=True, help="Speed of a ViT-B/16, which has to be exported first.")
def main(out: Path, minutes: float, full_size: bool) -> None:
    """Try everything; exit code 1 if something failed."""
    end, report = time.monotonic() + 60 * minutes, Report(out)
    driver = ask_driver()
    report.document["gpu"] = [asdict(gpu) for gpu in driver.gpus] or f"none: {driver.problem}"
    report.document["findings"] = [asdict(one) | {"detail": one.detail} for one in examine() if one.group != "bundle"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        material = make_material(folder)
        for name, call in steps(material, folder, report, full_size=full_size):
            slow_here = not driver.gpus and not name.startswith(ALSO_WITHOUT_GPU)
            if slow_here and "speed" in name:
                report.add(name, "skipped", reason="there is no GPU")
            elif time.monotonic() > end:
                report.add(name, "skipped", reason="no time left")
            else:
                run_step(report, name, call)
    counts = {status: report.count(status) for status in ("passed", "failed", "skipped")}
    click.echo(f"{counts} -> {out}")
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
