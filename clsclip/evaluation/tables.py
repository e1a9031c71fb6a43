"""Reports as Markdown: the customary table of a benchmark, and a plain one for data of one's own."""

from __future__ import annotations

from collections.abc import Sequence

from clsclip.evaluation.evaluate import Report, mean_of


def table(reports: Sequence[Report]) -> str:
    """Return a Markdown table, one row a fold, and the mean of every method's; the protocol and notes below."""
    if reports and all(one.own for one in reports):
        return plain_table(reports)
    rows = [["method", "data", "fold", "mIoU", "FB-IoU", "leakage", "which-word", "episodes"]]
    for method in dict.fromkeys(one.method for one in reports):
        own = [one for one in reports if one.method == method]
        for one in own:
            fold = str(one.fold) if one.fold >= 0 else "-"
            figures = [shown(one.miou), shown(one.fb_iou), shown(one.leakage, 3), shown(one.which_word)]
            rows.append([one.method, one.data, fold, *figures, str(one.episodes)])
        if len(own) > 1:
            mean = mean_of(own)
            figures = [shown(mean["miou"]), shown(mean["fb_iou"]), shown(mean["leakage"], 3), shown(mean["which_word"])]
            name = "mean" if len(own) == len(reports) else f"{method}: mean"
            rows.append([name, own[0].data, "", *figures, ""])
    lines = _markdown(rows, 3)
    several = len({one.method for one in reports}) > 1
    for one in reports:
        prefix = f"{one.method}: " if several else ""
        prefix += f"fold {one.fold}: " if one.fold >= 0 else ""
        classes = ", ".join(f"{each.word} {shown(each.iou)} ({each.episodes})" for each in one.classes)
        lines += ["", f"{prefix}IoU (episodes): {classes}", f"{prefix}protocol {one.protocol}"]
        lines += [f"{prefix}note: {note}" for note in one.notes]
    return "\n".join(lines)


def plain_table(reports: Sequence[Report]) -> str:
    """Tables for data of one's own: one row a model where there are several, then one row a class of each.

    IoU, precision and recall are of pixels, in percent. Leakage is the area that a word marks in pictures without it,
    as a share of what it marks in pictures with it.
    """
    lines: list[str] = []
    if len(reports) > 1:
        rows = [["model", "IoU", "precision", "recall", "leakage", "which-word IoU"]]
        for one in reports:
            figures = [shown(one.miou), shown(one.precision), shown(one.recall)]
            rows.append([one.method, *figures, shown(one.leakage, 3), shown(one.which_word)])
        lines += _markdown(rows, 1)
    for one in reports:
        rows = [["class", "IoU", "precision", "recall", "leakage", "pictures"]]
        for each in one.classes:
            figures = [shown(each.iou), shown(each.precision), shown(each.recall), shown(each.leakage, 3)]
            rows.append([each.word, *figures, str(each.episodes)])
        figures = [shown(one.miou), shown(one.precision), shown(one.recall), shown(one.leakage, 3)]
        rows.append(["mean", *figures, str(one.images)])
        lines += [*([""] if lines else []), one.method, "", *_markdown(rows, 1), ""]
        lines.append(f"IoU in pictures that show two or more of the words: {shown(one.which_word)}")
        if not one.protocol.startswith("original, every"):
            lines.append(f"protocol {one.protocol}")
        lines += [f"note: {note}" for note in one.notes]
    return "\n".join(lines)


def shown(value: float, digits: int = 1) -> str:
    """A figure for people; "-" for NaN."""
    return f"{value:.{digits}f}" if value == value else "-"


def _markdown(rows: Sequence[Sequence[str]], texts: int) -> list[str]:
    """A table whose first ``texts`` columns are texts."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * texts + "---:|" * (len(rows[0]) - texts))
    return lines
