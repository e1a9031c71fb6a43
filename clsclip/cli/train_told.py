"""What ``clsclip-train`` says before and after a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsclip.training import TrainingSummary

_WEAK = 3
"""Classes that a summary names: those that validation finds worst."""


def told(summary: TrainingSummary, out: Path) -> list[str]:
    """Lines that sum a run up, and say what to do next."""
    loss = "nothing was left to do" if summary.loss is None else f"loss {summary.loss}"
    lines = [f"{summary.steps} steps, {summary.epochs} epochs, {loss}, {summary.pairs_per_second} pairs/s"]
    if summary.skipped:
        lines.append(f"{summary.skipped} steps were skipped: their loss or gradient was not finite.")
    if summary.passed_over:
        lines.append(f"{len(summary.passed_over)} pictures could not be read and were passed over.")
    if summary.presence:
        present, absent = summary.presence["present_kept"], summary.presence["absent_kept"]
        kept = f"keeps {present:.0%} of present and {absent:.0%} of absent words of training pictures"
        lines.append(f"presence threshold {summary.presence['threshold']}: {kept}")
    lines += validated(summary.validation)
    best = summary.best or summary.checkpoint
    if best != summary.checkpoint:
        lines.append(f"{summary.checkpoint} and {best} written; curves and contact sheets are in {out}.")
        lines.append(f"Next: clsclip-export --ckpt {best} --out model.clsclip")
    else:
        lines.append(f"{summary.checkpoint} written. Next: clsclip-export --ckpt {best} --out model.clsclip")
    return lines


def validated(figures: dict[str, Any] | None) -> list[str]:
    """What the last validation found."""
    if figures is None:
        return ["Never validated: no picture was kept back, so nobody knows how good it is. See --val."]
    from clsclip.training.validation import told as in_words

    lines = [f"validation: {in_words(figures)}"]
    weak = sorted((value, word) for word, value in figures["classes"].items() if value is not None)[:_WEAK]
    if weak:
        lines.append(f"weakest classes: {', '.join(f'{word} {value:.0f}' for value, word in weak)} (IoU %)")
    return lines
