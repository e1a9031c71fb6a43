"""The figures of the guide to serving, from the report of the load.

python -m benchmarks.serving.sizing benchmarks/results/serving.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.run import fill
from clsclip_bench.report import table

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"
COLUMNS = ("", "answers/s", "CPU ms an answer", "p50 ms", "p99 ms", "p99 ms of health", "peak MiB")


def sizing(report: Mapping[str, Any]) -> str:
    """The table and the sentences between the guide's markers."""
    server, asked, own, ended = report["server"], report["asked"], report["in_process"], report["sigterm"]
    cores, memory, full = report["machine"]["cores"], server["memory_mib"], report["queue_of_4"]
    rows = [row("`clsclip-serve`", server)]
    if report["litserve"] is not None:
        rows.append(row("LitServe, the same `Segmenter`", report["litserve"]))
    calls, cpu_ms = f"{own['calls_per_s']:.1f}", f"{1000 * own['cpu_s_per_call']:.1f}"
    rows.append(["calls in process, no server and no client", calls, cpu_ms, "", "", "", ""])
    share, waiting = server["client_cpu_share"], asked["connections"] - 1
    of_core = server["answers_per_s"] / cores / (1 - share)
    each = max(0.0, memory["peak"] - memory["after_1_connection"]) / waiting
    refused, lost, all_ended = full["statuses"].get("503", 0), ended["lost"], sum(ended["statuses"].values())
    lines = [
        f"{cores} cores, which the client shares, ONNX Runtime, the model that is installed, {asked['image']},",
        f"{len(asked['words'])} words, {asked['connections']} connections, {asked['seconds']:g} s:",
        "",
        table(COLUMNS, rows),
        "",
        f"- A core gives {of_core:.0f} answers a second, the client's share of the CPU ({share:.0%}) taken out.",
        f"- Memory: {memory['after_1_connection']:.0f} MiB with one client, {each:.1f} MiB more for each that waits.",
        f"  The second half of the run peaked {server['growth_mib']:.1f} MiB above the first.",
        f"- With a queue of four {refused:,} requests were refused, half of them within",
        f"  {full['refused_p50_ms']:.0f} ms, 99 % within {full['refused_p99_ms']:.0f} ms.",
        f"- SIGTERM in the middle lost {lost} of {all_ended:,} requests. After kill -9 the next server answered",
        f"  within {report['restart_s']:.1f} s.",
    ]
    if report["missed"]:
        lines.append(f"- Missed in this run: {'; '.join(report['missed'])}.")
    return "\n".join(lines)


def row(name: str, found: Mapping[str, Any]) -> list[str]:
    """A server's row."""
    waits = [found[key] for key in ("answer_p50_ms", "answer_p99_ms", "healthz_p99_ms")]
    rate, cpu_ms = f"{found['answers_per_s']:.1f}", f"{1000 * found['cpu_s_per_answer']:.1f}"
    return [name, rate, cpu_ms, *(f"{one:.0f}" for one in waits), f"{found['memory_mib']['peak']:.0f}"]


if __name__ == "__main__":
    fill(GUIDE, {"sizing": sizing(json.loads(Path(sys.argv[1]).read_text("utf-8")))})
