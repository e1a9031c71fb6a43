"""All ways to ask one picture for some words, side by side, with their differences to PyTorch.

    python -m benchmarks.peers.table --report FILE [--work DIR] [--classes 20] [--seconds 4]

The first row, a call of PyTorch for every word, is measured again beside every group of the others, and ratios are to
the one in the same group: more processes at once would not fit into memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.peers.material import bundle_of
from benchmarks.peers.parity import Parity, wrong_rows
from clsclip_bench.case import Spec, Workload
from clsclip_bench.operations import BundleOperations
from clsclip_bench.ours import MODES, SPELLINGS, bundle_specs, device_of
from clsclip_bench.process import variables_of
from clsclip_bench.report import figure, new_document, peaks_json, percent, row_of, table, write_document
from clsclip_bench.run import line_of
from clsclip_bench.session import Peaks, measure
from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.doctor import BUILDS_WHEN_LOADED

FIRST = "PyTorch eager, a call for every word"
TOGETHER = 6
"""Cases beside the first, at one time."""

MAX_CLASSES = (1, 8)
"""Words of the filtered rows that are segmented: the least there is, and what a threshold of 0.3 lets through of 20 on
sticker pictures that show 4.8 of them, at a loss of 0.2 mIoU (benchmarks/presence)."""


def torch_specs(bundle: str, threads: int | None, gpu: bool) -> list[Spec]:
    """PyTorch and CLIPSeg."""
    common = {"bundle": bundle, "threads": threads}
    ours, theirs = {"family": "ClsCLIP"}, {"family": "CLIPSeg"}
    pytorch, clipseg = "benchmarks.peers.pytorch:", "benchmarks.peers.clipseg:"
    specs = [
        Spec(FIRST, pytorch + "EagerLoop", common, labels=ours),
        Spec("PyTorch eager, batched, stem shared", pytorch + "EagerBatched", common, labels=ours),
        Spec("torch.compile, batched, stem shared", pytorch + "Compiled", common, labels=ours),
        Spec("PyTorch autocast bf16, batched", pytorch + "EagerBatched", common | {"dtype": "bfloat16"}, "bf16",
             labels=ours),
        Spec("CLIPSeg as documented", clipseg + "Documented", common, labels=theirs),
        Spec("CLIPSeg, encoder shared", clipseg + "EncoderShared", common, labels=theirs),
    ]  # fmt: skip
    for dtype, precision in (("float16", "fp16"), ("bfloat16", "bf16")) if gpu else ():
        on_gpu = common | {"device": "cuda", "dtype": dtype}
        batched = f"PyTorch autocast {precision}, batched, GPU"
        specs.append(Spec(batched, pytorch + "EagerBatched", on_gpu, precision, "gpu", ours))
        specs.append(Spec(f"torch.compile {precision}, GPU", pytorch + "Compiled", on_gpu, precision, "gpu", ours))
    return specs


def engine_specs(bundles: dict[str, Path], threads: int | None) -> list[Spec]:
    """Engines on the exported graph, used plainly."""
    labels = {"family": "ClsCLIP"}
    engines = "benchmarks.peers.engines:"
    specs = []
    for precision, bundle in bundles.items():
        common = {"bundle": str(bundle), "threads": threads}
        if precision != "bf16":
            specs.append(
                Spec(f"ONNX Runtime {precision}", engines + "OnnxRuntimePeer", common, precision, labels=labels)
            )
        in_precision = common | {"precision": precision}
        specs.append(Spec(f"OpenVINO {precision}", engines + "OpenVinoPeer", in_precision, precision, labels=labels))
    if "bf16" not in bundles:  # OpenVINO rounds an FP32 graph itself
        common = {"bundle": str(bundles["fp32"]), "threads": threads, "precision": "bf16"}
        specs.append(Spec("OpenVINO bf16", engines + "OpenVinoPeer", common, "bf16", labels=labels))
    return specs


def our_specs(bundles: dict[str, Path], threads: int | None, gpu: bool) -> list[Spec]:
    """This project, in every precision, backend and mode."""
    backends = [name for name in SPELLINGS if name not in BUILDS_WHEN_LOADED and (gpu or device_of(name) == "cpu")]
    return [
        Spec(f"clsclip {spec.name}", spec.factory, spec.options, spec.precision, spec.device,
             {**spec.labels, "family": "ClsCLIP"})
        for bundle in bundles.values()
        for name in backends
        for spec in bundle_specs(Bundle.open(bundle), name, MODES, {"threads": threads, "side": 224}, MAX_CLASSES)
    ]  # fmt: skip


def groups(first: Spec, others: list[Spec]) -> Iterator[list[Spec]]:
    """The first beside every few of the others."""
    for begin in range(0, len(others), TOGETHER):
        yield [first, *others[begin : begin + TOGETHER]]


@click.command()
@click.option("--report", "report_path", required=True, type=click.Path(path_type=Path))
@click.option(
    "--work", default=Path("build/benchmarks"), type=click.Path(path_type=Path), help="Where bundles are made."
)
@click.option("--classes", default=20, show_default=True, type=click.IntRange(1, 1000))
@click.option("--crops", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--seconds", default=4.0, show_default=True, help="Of timed calls for each row.")
@click.option("--minutes", default=10.0, show_default=True, help="Groups that would begin later are left out.")
@click.option("--threads", type=click.IntRange(min=1))
@click.option(
    "--precision", "precisions", multiple=True, help="Of bundles beside fp32. Default: int8; on GPUs fp16, too."
)
@click.option("--only", multiple=True, help="Rows whose name has this; the first is always there.")
def main(
    report_path: Path,
    work: Path,
    classes: int,
    crops: int,
    seconds: float,
    minutes: float,
    threads: int | None,
    precisions: tuple[str, ...],
    only: tuple[str, ...],
) -> None:
    """Measure all, group by group; the JSON is written after each."""
    gpu = bool(ask_driver().gpus)
    workload = Workload(crops, classes)
    settings = {"classes": classes, "crops": crops, "seconds": seconds, "threads": threads, "max_classes": MAX_CLASSES}
    document = new_document("benchmarks.peers.table", settings)
    bundles, document["left_out"] = make_bundles(work, precisions or (("int8", "fp16") if gpu else ("int8",)))
    first, *others = torch_specs(str(bundles["fp32"]), threads, gpu)
    others = our_specs(bundles, threads, gpu) + engine_specs(bundles, threads) + others
    variables, end = variables_of(threads, work / "words"), time.monotonic() + 60 * minutes
    chosen = [spec for spec in others if not only or any(part in spec.name for part in only)]
    opened = [Bundle.open(path) for path in bundles.values()]
    parity, counted = Parity(), {str(bundle.folder): BundleOperations(bundle) for bundle in opened}
    with Peaks(threads) as peaks:
        for number, group in enumerate(groups(first, chosen), 1):
            if time.monotonic() > end:
                document["left_out"] |= dict.fromkeys((spec.name for spec in group[1:]), "no time left; give --minutes")
                continue
            click.echo(f"group {number}: {', '.join(spec.name for spec in group)}", err=True)
            measured = measure(group, workload, peaks, seconds=seconds, variables=variables, after=parity)
            rows = [row_of(one, counted.get(str(one.spec.options.get("model")))) for one in measured]
            document["rows"] += with_ratios(rows, number)
            document["peaks"] = peaks_json(peaks)
            write_document(report_path, document)  # a run that is cut short keeps its groups
            for row in rows:
                click.echo(f"  {line_of(row)}", err=True)
    write_document(report_path, document)
    click.echo(markdown(document))
    wrong = wrong_rows(document["rows"])
    if wrong:
        raise click.ClickException("masks differ. " + "; ".join(wrong))


def make_bundles(work: Path, precisions: tuple[str, ...]) -> tuple[dict[str, Path], dict[str, str]]:
    """Bundles by precision, and why there is none of some."""
    from clsclip.errors import ClsclipError
    from clsclip_export.errors import ExportError

    made, missing = {}, {}
    for precision in dict.fromkeys(("fp32", *precisions)):
        try:
            made[precision] = bundle_of(work, precision)
        except (ExportError, ClsclipError, LookupError, ValueError) as error:
            missing[f"bundle {precision}"] = " ".join(str(error).split())
            click.echo(f"no bundle in {precision}: {missing[f'bundle {precision}']}", err=True)
    return made, missing


def with_ratios(rows: list[dict[str, Any]], group: int) -> list[dict[str, Any]]:
    """Rows of one group, each with how many times as fast as the first it was."""
    first = rows[0]["whole_ms"]
    for row in rows:
        known = first is not None and row["whole_ms"] is not None
        row["times_first"] = round(first["p50"] / row["whole_ms"]["p50"], 3) if known else None
        row["group"] = group
    return rows


def markdown(document: dict[str, Any]) -> str:
    """The table of the README; the first row once."""
    header = ("way", "ms", "times the first", "pairs", "GFLOP", "% of peak", "max difference", "mask IoU",
              "load s", "peak MiB")  # fmt: skip
    lines, seen = [], False
    for row in document["rows"]:
        if row["name"] == FIRST and seen:
            continue
        seen |= row["name"] == FIRST
        if row["whole_ms"] is None:
            continue
        operations, parity = row["operations"] or {}, row["parity"] or {}
        share = percent(row["peak_share"]) + (f" of {row['precision']}" if row["peak_share"] is not None else "")
        difference = "reference" if parity.get("reference") else figure(parity.get("max_difference"), 2)
        lines.append([
            row["name"], figure(row["whole_ms"]["p50"]), figure(row["times_first"]), str(row["pairs"]),
            figure(operations["call"] / 1e9) if "call" in operations else "–", share, difference,
            figure(parity.get("mean_iou"), 4), figure(row["load_s"]), figure(row["peak_memory_mib"]),
        ])  # fmt: skip
    missing = [f"- {row['name']}: {row['reason']}" for row in document["rows"] if row["whole_ms"] is None]
    missing += [f"- {name}: {reason}" for name, reason in document.get("left_out", {}).items()]
    return "\n".join([table(header, lines), *(["", "Not measured:", "", *missing] if missing else [])])


if __name__ == "__main__":
    main()
