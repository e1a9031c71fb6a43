"""The document of a run: one JSON, and the same as a Markdown table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from clsclip_bench.machine import load_average, machine, now, versions
from clsclip_bench.operations import BundleOperations, CountError
from clsclip_bench.session import Measured, Peaks
from clsclip_runtime.documents import read_json
from clsclip_runtime.errors import OptionError
from clsclip_runtime.paths import Writer, cannot_write, write_file
from clsclip_runtime.renamed import old_names

SCHEMA = 2
"""1 had other names; see ``renamed.json``."""

Row = Mapping[str, Any]

KEY = ("name", "crops", "classes")
"""What makes two rows of different runs the same row."""


def new_document(program: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a run that begins now; ``rows`` is to be filled."""
    return {
        "schema": SCHEMA,
        "program": program,
        "date": now(),
        "machine": machine() | {"load_average": load_average()},
        "versions": versions(),
        "settings": dict(settings),
        "peaks": {},
        "rows": [],
        "interrupted": False,
    }


def row_of(measured: Measured, operations: BundleOperations | None = None) -> dict[str, Any]:
    """One row as plain JSON types.

    Args:
        measured: what was found.
        operations: of the bundle; not needed for a case whose facts state the ``operations`` of a call.

    ``text_ms`` is of the first call; words that an earlier row of the run has encoded may come from a cache.

    ``peak_share`` is the operations of the graphs by the engine's time, as a share of the machine's rate of matrix
    products in the row's precision, measured in the same rounds. ``peak_share_whole`` takes the time of the whole call.
    """
    workload, whole, engine = measured.workload, measured.summary(), measured.summary("engine")
    row: dict[str, Any] = {
        "name": measured.spec.name,
        **measured.spec.labels,
        "precision": measured.spec.precision,
        "device": measured.spec.device,
        "crops": workload.crops,
        "classes": workload.classes,
        "pairs": measured.facts.get("pairs"),
        "reason": measured.reason,
        "whole_ms": whole,
        "engine_ms": engine,
        "outside_share": None,
        "images_x_classes_per_second": None if whole is None else _round(workload.pairs / (whole["p50"] / 1000)),
        "load_s": _round(measured.load_seconds),
        "first_call_ms": _milliseconds(measured.first_call.get("whole")),
        "text_ms": _milliseconds(measured.first_call.get("text")),
        "peak_memory_mib": _round(measured.memory.get("mib")),
        "gpu_memory_mib": _round(measured.memory.get("gpu_mib")),
        "parity": measured.parity or None,
        "facts": {key: value for key, value in measured.facts.items() if key not in ("pairs", "operations")},
    }
    if whole is not None and engine is not None:
        row["outside_share"] = _round(1 - engine["p50"] / whole["p50"])
    row["operations"] = _operations(measured, operations)
    row |= _shares(row, measured.peak)
    return row


def _operations(measured: Measured, operations: BundleOperations | None) -> dict[str, Any] | None:
    """Operations of one call whose words are known already (``text`` is what encoding them took), or why not."""
    facts, workload = measured.facts, measured.workload
    if "operations" in facts:
        return {"call": facts["operations"]}
    if operations is None or "graphs" not in facts:
        return None
    try:
        by_graph = operations.by_graph(facts["graphs"], workload.crops, workload.classes, facts["pairs"])
        return {
            "by_graph": by_graph,
            "call": math.fsum(by_graph.values()),
            "text": operations.of_words(workload.classes),
        }
    except CountError as error:
        return {"reason": str(error)}


def _shares(row: Row, peak: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "peak_per_second": _round(peak),
        "per_second": None,
        "peak_share": None,
        "peak_share_whole": None,
    }
    operations, whole = row["operations"], row["whole_ms"]
    if operations is None or "call" not in operations or whole is None:
        return found
    engine = row["engine_ms"] or whole
    found["per_second"] = _round(operations["call"] / (engine["p50"] / 1000))
    if peak:
        found["peak_share"] = _round(found["per_second"] / peak)
        found["peak_share_whole"] = _round(operations["call"] / (whole["p50"] / 1000) / peak)
    return found


def peaks_json(peaks: Peaks) -> dict[str, Any]:
    """The machine's rates of matrix products over the whole run, and why some have none."""
    found: dict[str, Any] = {}
    for name, facts in peaks.found.items():
        device, _, precision = name.partition(" ")
        if "reason" in facts:
            found[name] = {"not_measured": facts["reason"]}
        else:
            rate = peaks.rate(device, precision)
            tried = {engine: _round(one) for engine, one in facts.get("tried", {}).items()}
            rounds = len(peaks.times.get((device, precision), []))
            found[name] = {"engine": facts.get("engine"), "size": facts.get("size"), "per_second": _round(rate)}
            found[name] |= {"tried_per_second": tried, "products": rounds}
    return found


def write(path: Path, writer: Writer) -> None:
    """Write a file whole or not at all, in a folder that is made if need be. OutputError if that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    write_file(path, writer)


def write_text(path: Path, text: str) -> None:
    """Write a text. OutputError if that is not possible."""

    def writer(file: IO[bytes]) -> None:
        file.write(text.encode("utf-8"))

    write(path, writer)


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write the JSON. OutputError if that is not possible."""
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_document(path: Path) -> dict[str, Any]:
    """A JSON that a run wrote.

    Raises:
        OptionError: the file cannot be read, or is no such JSON, or of a newer version.
    """
    try:
        document = read_json(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"cannot read {path}: {reason}. Give the JSON that clsclip-bench --report wrote") from error
    rows = document.get("rows") if isinstance(document, dict) else None
    keyed = isinstance(rows, list) and all(isinstance(row, dict) and set(KEY) <= set(row) for row in rows)
    if not keyed or not isinstance(document.get("schema"), int):
        raise OptionError(f"{path} is not the result of a benchmark. Give the JSON that clsclip-bench --report wrote")
    if document["schema"] > SCHEMA:
        raise OptionError(f"{path} was written by a newer clsclip. Upgrade clsclip")
    return dict(document) if document["schema"] == SCHEMA else _renewed(document)


def _renewed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of schema 1 with the names of this one."""
    names = old_names("benchmark")

    def renamed(part: Mapping[str, Any]) -> dict[str, Any]:
        return {names.get(key, key): value for key, value in part.items()}

    rows = [renamed(row) for row in document["rows"]]
    for row in rows:
        if row.get("mode") in names:
            new = names[row["mode"]]
            row |= {"mode": new, "name": row["name"].replace(f", {row['mode']}", f", {new}")}
    return renamed(document) | {"schema": SCHEMA, "rows": rows, "settings": renamed(document.get("settings", {}))}


COLUMNS = (
    ("model, engine", "name"),
    ("crops", "crops"),
    ("classes", "classes"),
    ("pairs", "pairs"),
    ("ms", "whole"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("engine alone", "engine"),
    ("outside", "outside_share"),
    ("images x classes / s", "images_x_classes_per_second"),
    ("GFLOP", "gflop"),
    ("% of peak", "peak_share"),
    ("load s", "load_s"),
    ("peak MiB", "peak_memory_mib"),
    ("calls", "calls"),
)


def markdown(document: Mapping[str, Any]) -> str:
    """The rows as a table, and below it what the peaks were and what was not measured."""
    rows = document["rows"]
    measured = [row for row in rows if row["whole_ms"] is not None]
    lines = [table([title for title, _ in COLUMNS], [[_entry(row, key) for _, key in COLUMNS] for row in measured])]
    lines.append(peaks_sentence(document))
    lines += [over_the_peak(measured), *not_measured(rows), *left_out(document)]
    return "\n\n".join(line for line in lines if line) + "\n"


def not_measured(rows: Iterable[Row]) -> list[str]:
    """A sentence for every reason why rows were not measured."""
    missing: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["whole_ms"] is None:
            missing.setdefault((row["name"], row["reason"]), []).append(f"{row['crops']} x {row['classes']}")
    together: dict[tuple[str, str], list[str]] = {}
    for (name, reason), sizes in missing.items():
        together.setdefault((", ".join(sizes), reason), []).append(name)
    return [f"Not measured: {'; '.join(names)}, {sizes}: {reason}" for (sizes, reason), names in together.items()]


def left_out(document: Mapping[str, Any]) -> list[str]:
    """A sentence for every reason why engines were left out as a whole."""
    together: dict[str, list[str]] = {}
    for name, reason in document.get("left_out", {}).items():
        together.setdefault(reason, []).append(name)
    return [f"Left out: {'; '.join(names)}: {reason}" for reason, names in together.items()]


def over_the_peak(rows: Iterable[Row]) -> str:
    """What a share above 100 % means, where a row has one."""
    if not any(row["peak_share"] is not None and row["peak_share"] > 1 for row in rows):
        return ""
    return (
        "Over 100 % of peak: the peak is the fastest matrix product that was found in the same rounds. A graph exceeds "
        "it where its own products suit the machine better, or where other programs took time from the peak's."
    )


def peaks_sentence(document: Mapping[str, Any]) -> str:
    """What the machine's peaks were, and on what everything was measured."""
    about, parts = document["machine"], []
    for name, facts in document["peaks"].items():
        if "not_measured" in facts:
            parts.append(f"{name} not measured ({facts['not_measured']})")
        elif facts["per_second"]:
            parts.append(f"{name} {facts['per_second'] / 1e9:.0f} GFLOP/s ({facts['engine']}, {facts['size']}³)")
    gpus = "".join(f", {gpu['name']}" for gpu in about.get("gpus", []))
    where = f"{about['processor']}, {about['cores']} cores{gpus}; {document['date'][:10]}"
    return f"Matrix products of the machine, measured in the same rounds: {'; '.join(parts) or 'none'}. {where}."


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns behind the first are right-aligned."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(entry.replace("|", "\\|") for entry in row) + " |" for row in rows]
    return "\n".join(lines)


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, and no more places than make sense."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def percent(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{100 * value:.1f} %" if abs(value) < 0.1 else f"{100 * value:.0f} %"


def _entry(row: Row, key: str) -> str:
    whole = row["whole_ms"]
    if key == "whole":
        return figure(whole["p50"])
    if key in ("p90", "p99"):
        return figure(whole[key])
    if key == "engine":
        return figure(row["engine_ms"]["p50"] if row["engine_ms"] else None)
    if key == "calls":
        return str(whole["calls"])
    if key == "gflop":
        operations = row["operations"] or {}
        return figure(operations["call"] / 1e9) if "call" in operations else "–"
    if key in ("peak_share", "outside_share"):
        return percent(row[key])
    value = row[key]
    return figure(value) if isinstance(value, float) else "–" if value is None else str(value)


def _round(value: float | None) -> float | None:
    """Six significant digits are more than any of this is good for."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else _round(seconds * 1000)
