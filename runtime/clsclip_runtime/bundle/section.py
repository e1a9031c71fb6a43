"""Typed access to a JSON object of a bundle, with errors that name the key."""

from __future__ import annotations

import math
from typing import Any

from clsclip_runtime.bundle.formats import FORMATS
from clsclip_runtime.errors import BundleError
from clsclip_runtime.options import is_name

_MAX_CHARACTERS: int = FORMATS["limits"]["text_characters"]


class Section:
    """Typed access to one JSON object, with errors that name the dotted key."""

    def __init__(self, data: object, where: str = "") -> None:
        if not isinstance(data, dict):
            raise bad_value(where or "the manifest", "an object", data)
        self.data: dict[str, Any] = data
        self._where = where

    def key(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def get(self, key: str) -> Any:
        if key not in self.data:
            raise BundleError(
                f"manifest.json lacks the required key '{self.key(key)}'. Export the bundle again with clsclip-export"
            )
        return self.data[key]

    def section(self, key: str) -> Section:
        return Section(self.get(key), self.key(key))

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value.strip():
            raise bad_value(self.key(key), "a text that is not empty", value)
        if len(value) > _MAX_CHARACTERS:
            raise bad_value(self.key(key), f"a text of at most {_MAX_CHARACTERS} characters", value)
        return value

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in known:
            raise BundleError(
                f"manifest.json asks for {self.key(key)} = {value!r}; this version of clsclip knows "
                f"{', '.join(known)}. Upgrade clsclip, or export the bundle again"
            )
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise bad_value(self.key(key), f"a whole number from {low} to {high}", value)
        return value

    def number(self, key: str, low: float, high: float, *, inclusive: bool) -> float:
        value = self.get(key)
        if is_number(value) and (low <= value <= high if inclusive else low < value < high):
            return float(value)
        wanted = f"from {low} to {high}" if inclusive else f"strictly between {low} and {high}"
        raise bad_value(self.key(key), f"a number {wanted}", value)

    def channels(self, key: str, *, positive: bool) -> tuple[float, float, float]:
        value = self.get(key)
        numbers = value if isinstance(value, list) else []
        if len(numbers) == 3 and all(is_number(item) and (item > 0 or not positive) for item in numbers):
            return float(numbers[0]), float(numbers[1]), float(numbers[2])
        raise bad_value(self.key(key), f"three {'positive ' if positive else ''}numbers", value)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) != count or not all(is_number(one) for one in value):
            raise bad_value(self.key(key), f"a list of {count} numbers", value)
        return tuple(float(one) for one in value)

    def templates(self, key: str, most: int, characters: int) -> tuple[str, ...]:
        value = self.get(key)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise bad_value(self.key(key), f"a list of 1 to {most} templates", value)
        for template in value:
            if not isinstance(template, str) or template.count("{}") != 1 or len(template) > characters:
                wanted = f"templates of up to {characters} characters that hold {{}} once, where the word goes"
                raise bad_value(self.key(key), wanted, template)
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            raise bad_value(self.key(key), "true or false", value)
        return value

    def names(self, key: str, most: int, characters: int) -> tuple[str, ...]:
        value = self.get(key)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise bad_value(self.key(key), f"a list of 1 to {most} names", value)
        for name in value:
            if not (isinstance(name, str) and is_name(name, characters)):
                raise bad_value(self.key(key), f"names of up to {characters} characters without line breaks", name)
        return tuple(value)

    def strings(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise bad_value(self.key(key), "a list of texts", value)
        return tuple(value)

    def whole_numbers(self, key: str, most: int, low: int, high: int) -> tuple[int, ...]:
        value = self.get(key)
        fine = isinstance(value, list) and len(value) <= most
        if not fine or not all(_is_whole(one) and low <= one <= high for one in value):
            raise bad_value(self.key(key), f"a list of at most {most} whole numbers from {low} to {high}", value)
        return tuple(value)

    def sections(self, key: str, most: int) -> list[Section]:
        value = self.get(key)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise bad_value(self.key(key), f"a list of 1 to {most} objects", value)
        return [Section(one, f"{self.key(key)}[{at}]") for at, one in enumerate(value)]

    def optional(self, key: str) -> Section | None:
        return None if self.data.get(key) is None else self.section(key)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a finite JSON number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def bad_value(key: str, wanted: str, value: object) -> BundleError:
    """The error of a key whose value is not what it must be."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return BundleError(
        f"'{key}' in manifest.json must be {wanted}, and it is {shown}. Export the bundle again with clsclip-export"
    )
