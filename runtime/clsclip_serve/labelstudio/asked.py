"""What Label Studio asks: the labels of the configuration, or what an annotator typed and drew."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from clsclip_runtime.errors import WordError
from clsclip_runtime.text.typed import typed_classes
from clsclip_serve.asked import Box
from clsclip_serve.labelstudio.config import KINDS, LabelConfig
from clsclip_serve.problems import ProblemError

MOST_TASKS = 10_000
Corners = tuple[float, float, float, float]


class _Sent(BaseModel):
    """What Label Studio sends has more in it with every version."""

    model_config = ConfigDict(extra="ignore")


class Task(_Sent):
    """A task: its identifier, and where its picture is."""

    id: int | str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Context(_Sent):
    """What an annotator did before asking."""

    result: list[dict[str, Any]] = Field(default_factory=list)


class Parameters(_Sent):
    """Of a request."""

    context: Context | None = None


class Predict(_Sent):
    """A request for predictions."""

    tasks: list[Task] = Field(max_length=MOST_TASKS)
    label_config: str
    params: Parameters | None = None

    @property
    def drawn(self) -> list[dict[str, Any]]:
        """Regions that an annotator drew and typed before asking."""
        context = None if self.params is None else self.params.context
        return [] if context is None else context.result


class Setup(_Sent):
    """A project that is connected. Its token is not used: whoever reaches this server could send one."""

    schema_: str = Field("", alias="schema")


@dataclass(frozen=True)
class Request:
    """What is searched in the pictures of a request.

    Attributes:
        classes: prompts by label.
        regions: boxes in percent of the picture, as (left, top, right, bottom), with their labels; None without any.
        notes: of what was left out.
    """

    classes: dict[str, tuple[str, ...]]
    regions: list[tuple[Corners, str | None]] | None
    notes: tuple[str, ...] = ()

    def boxes(self, size: tuple[int, int]) -> list[Box | Corners] | None:
        """The regions in pixels of a picture of a size (width, height)."""
        if self.regions is None:
            return None
        width, height = size
        wide, high = width / 100, height / 100
        return [
            Box(box=(left * wide, top * high, right * wide, bottom * high), name=label)
            for (left, top, right, bottom), label in self.regions
        ]


def request_of(config: LabelConfig, drawn: list[dict[str, Any]]) -> Request:
    """What a configuration and an annotator's regions ask for.

    Raises:
        ProblemError: 400; a region has a ``from_name`` that the configuration lacks, or nothing is left to be asked.
    """
    config.checked_names(drawn)
    notes: list[str] = []
    regions = _regions(config, drawn, notes)
    selected = list(dict.fromkeys(label for one in drawn for label in _labels(one) if label in config.labels))
    typed = [text for one in drawn if one.get("type") == "textarea" for text in _texts(one)]
    if typed:
        return Request(_typed(config, typed, selected, notes), regions or None, tuple(notes))
    asked = selected if selected and drawn else list(config.labels)
    classes = {name: config.labels[name].prompts for name in asked}
    return Request(classes, regions or None, tuple(notes))


def _typed(config: LabelConfig, typed: list[str], selected: list[str], notes: list[str]) -> dict[str, tuple[str, ...]]:
    """Typed words by label: a label's own name is that label; any other word is searched for the label selected."""
    try:
        asked = typed_classes(typed)
    except WordError as error:
        raise ProblemError(400, str(error)) from error
    notes += asked.notes
    target = selected[0] if selected else next(iter(config.labels)) if len(config.labels) == 1 else None
    found: dict[str, list[str]] = {}
    lost: list[str] = []
    for name, prompts in asked.mapping.items():
        label = name if name in config.labels else target
        if label is None:
            lost.append(name)
        elif name in config.labels and prompts == (name,):
            found.setdefault(label, []).extend(config.labels[name].prompts)
        else:
            found.setdefault(label, []).extend(prompts)
    if lost:
        told = (
            f"{', '.join(lost)[:200]}: no label of that name, and no label is selected that the mask could have. "
            f"Select one of {', '.join(config.labels)[:200]}, then type the word"
        )
        if not found:
            raise ProblemError(400, told)
        notes.append(told)
    return {label: tuple(dict.fromkeys(prompts)) for label, prompts in found.items()}


def _labels(region: dict[str, Any]) -> list[str]:
    value = region.get("value")
    if not isinstance(value, dict):
        return []
    listed = value.get(str(region.get("type")), value.get("labels"))
    return [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []


def _texts(region: dict[str, Any]) -> list[str]:
    value = region.get("value")
    text = value.get("text") if isinstance(value, dict) else None
    texts = [text] if isinstance(text, str) else text if isinstance(text, list) else []
    return [one for one in texts if isinstance(one, str) and one.strip()]


def _regions(config: LabelConfig, drawn: list[dict[str, Any]], notes: list[str]) -> list[tuple[Corners, str | None]]:
    found: list[tuple[Corners, str | None]] = []
    others = set()
    for region in drawn:
        kind, value = str(region.get("type")), region.get("value")
        if kind in ("rectanglelabels", "rectangle") and isinstance(value, dict):
            box = _box(value, notes)
            label = next((one for one in _labels(region) if one in config.labels), None)
            if box is None:
                notes.append("a rectangle without a size was left out")
            else:
                found.append((box, label))
        elif kind not in ("textarea", *KINDS):
            others.add(kind)
    if others:
        kinds = ", ".join(sorted(others))[:100]
        notes.append(f"of what was drawn, rectangles are searched; {kinds} say which label is meant, and not where")
    return found


def _box(value: dict[str, Any], notes: list[str]) -> Corners | None:
    numbers = [value.get(key, 0) for key in ("x", "y", "width", "height", "rotation")]
    if not all(isinstance(one, (int, float)) and math.isfinite(one) for one in numbers):
        return None
    x, y, width, height, rotation = numbers
    if width <= 0 or height <= 0:
        return None
    if rotation % 360:
        notes.append("the rotation of a rectangle was left out")
    return x, y, x + width, y + height
