"""How many crops, classes and pairs one call may have: an engine is built for it, and an export checked at its ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clsclip_export.errors import ProfileError

AXES = {"C": "crops", "K": "classes", "P": "pairs"}
"""The dynamic axes of a bundle's graphs, by their name in ONNX."""


@dataclass(frozen=True)
class Profile:
    """Smallest, usual and largest number along every dynamic axis; engines are fastest at the usual one.

    Raises:
        ProfileError: numbers that are not 1 <= smallest <= usual <= largest.
    """

    crops: tuple[int, int, int] = (1, 1, 4)
    classes: tuple[int, int, int] = (1, 8, 64)
    pairs: tuple[int, int, int] = (1, 8, 32)

    def __post_init__(self) -> None:
        for name in AXES.values():
            bounds = getattr(self, name)
            if len(bounds) != 3 or not 1 <= bounds[0] <= bounds[1] <= bounds[2]:
                raise ProfileError(
                    f"A profile of {name} is three numbers with 1 <= smallest <= usual <= largest, such as 1,8,32, "
                    f"and not {','.join(map(str, bounds))}."
                )

    def bounds(self, axis: str) -> tuple[int, int, int]:
        """Smallest, usual and largest of the ONNX axis ``C``, ``K`` or ``P``."""
        found: tuple[int, int, int] = getattr(self, AXES[axis])
        return found

    def batches(self) -> tuple[tuple[int, int, int], ...]:
        """(crops, classes, pairs) to check an export at: one, two, and the largest."""
        largest = (self.crops[2], self.classes[2], self.pairs[2])
        small = ((1, 1, 1), (1, 2, 2))
        return (*(one for one in small if one != largest), largest)

    def to_json(self) -> dict[str, list[int]]:
        """Plain JSON types."""
        return {name: list(getattr(self, name)) for name in AXES.values()}


def parse_bounds(name: str, text: str) -> tuple[int, int, int]:
    """``"1,8,32"``, or ``"8"`` for three times the same, as bounds.

    Raises:
        ProfileError: it is neither.
    """
    parts: Sequence[str] = text.split(",")
    if len(parts) == 1:
        parts = [*parts, *parts, *parts]
    try:
        low, usual, high = (int(part) for part in parts)
    except ValueError as error:
        raise ProfileError(
            f"--{name} takes smallest,usual,largest such as 1,8,32, or one number, and not {text!r}."
        ) from error
    return low, usual, high
