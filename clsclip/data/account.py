"""What was left out of data, assumed or changed, and how often: nothing is lost without a word."""

from __future__ import annotations

from clsclip_runtime.errors import one_line

_EXAMPLES = 3
_MOST_KINDS = 40


class Account:
    """Counts by reason, with the first few examples of each."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, reason: str, example: object = "", count: int = 1) -> None:
        """Count one more.

        Args:
            reason: in the plural, as it follows a number: "annotations without a mask were left out".
            example: which one, and what was wrong with it.
            count: how many.
        """
        if reason not in self._counts and len(self._counts) >= _MOST_KINDS:
            reason, example = "other things were left out", f"{reason}: {example}"
        self._counts[reason] = self._counts.get(reason, 0) + count
        examples = self._examples.setdefault(reason, [])
        if example and len(examples) < _EXAMPLES:
            examples.append(one_line(example, 200))

    def merge(self, other: Account) -> None:
        """Add all that another has counted."""
        for reason, count in other._counts.items():
            for at, example in enumerate(other._examples[reason] or [""]):
                self.add(reason, example, count if at == 0 else 0)

    @property
    def counts(self) -> dict[str, int]:
        """How often each reason came, in the order in which they came first."""
        return dict(self._counts)

    def lines(self) -> list[str]:
        """A line for each reason, for people."""
        return [
            f"{count:,} {reason}" + (f" ({'; '.join(examples)}{'; ...' if count > len(examples) else ''})")
            if (examples := self._examples[reason])
            else f"{count:,} {reason}"
            for reason, count in self._counts.items()
        ]
