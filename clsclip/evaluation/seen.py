"""What a model has seen of the data that it is measured on, and names that tell several models apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clsclip.data.base import Fold
from clsclip.data.marks import marked
from clsclip.evaluation.evaluate import Method, Report
from clsclip.evaluation.predictors import Predictor


def what_was_trained(report: Report, predictor: Predictor | None, fold: Fold) -> Report:
    """The report with notes about pictures and words of the test that the model was trained on, as far as it says.

    Args:
        report: of the test.
        predictor: the model; None for boxes alone.
        fold: the test.
    """
    provenance: Mapping[str, Any] = getattr(predictor, "provenance", {})
    notes = []
    keys = [fold.test.key(index) for index in sorted({index for index, _ in fold.test_pairs})]
    known = marked(keys, provenance.get("trained_pictures"))
    if known:
        notes.append(
            f"{len(known)} of {len(keys)} pictures have names of pictures that the model was trained on: these figures "
            "are better than those of new pictures"
        )
    seen = provenance.get("seen_words")
    if not report.own and isinstance(seen, list):
        words = [one.word for one in report.classes if one.word in seen]
        if words:
            notes.append(f"masks of these words were trained on, so they are no zero-shot test: {', '.join(words)}")
    return replace(report, notes=(*report.notes, *notes))


class _Renamed:
    """A predictor with another name for tables."""

    def __init__(self, predictor: Predictor, name: str) -> None:
        self._predictor, self.name = predictor, name
        self.predict = predictor.predict
        self.provenance = getattr(predictor, "provenance", {})


def told_apart(methods: Sequence[Method]) -> list[Method]:
    """The methods, those of equal names with a number, so that each is a row of its own."""
    found: list[Method] = []
    for method in methods:
        times = sum(one.name == method.name for one in methods[: len(found)])
        if times and method.predictor is not None:
            method = replace(method, predictor=_Renamed(method.predictor, f"{method.predictor.name} #{times + 1}"))
        found.append(method)
    return found
