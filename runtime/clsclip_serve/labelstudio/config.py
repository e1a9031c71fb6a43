"""The labeling configuration of a project: which labels there are, and which control takes them for which picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from clsclip_serve.problems import ProblemError

KINDS = ("brushlabels", "polygonlabels", "rectanglelabels")
"""Controls that masks fit into, the best first: pixels, outlines, boxes."""

_MOST_BYTES = 1 << 20
_ADVICE = "Settings > Labeling Interface"


@dataclass(frozen=True)
class Control:
    """A control of the configuration.

    Attributes:
        name: what ``from_name`` of a region must be.
        to_name: the picture's control.
        kind: one of ``KINDS``.
    """

    name: str
    to_name: str
    kind: str


@dataclass(frozen=True)
class Label:
    """A label of a control.

    Attributes:
        name: as regions have it: its alias, or its value.
        prompts: words that are searched: of ``predicted_values``, or the value.
        control: that takes it.
    """

    name: str
    prompts: tuple[str, ...]
    control: Control


@dataclass(frozen=True)
class LabelConfig:
    """What a project asks for.

    Attributes:
        labels: by their names.
        image_key: where a task has its picture.
        names: of all controls.
    """

    labels: dict[str, Label]
    image_key: str
    names: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> LabelConfig:
        """Read a configuration.

        Raises:
            ProblemError: 400; it is no XML, shows no picture, or has no labels for one.
        """
        root = _root(text)
        images = {one.get("name", ""): one for one in root.iter("Image")}
        if not images:
            raise ProblemError(400, f"the labeling configuration shows no Image. Add one in {_ADVICE}")
        controls = {kind: [one for one in root.iter() if one.tag.lower() == kind] for kind in KINDS}
        found: dict[str, Label] = {}
        to_name: str | None = None
        for kind in KINDS:
            for tag in controls[kind]:
                control = _control(tag, kind, images)
                if to_name not in (None, control.to_name):
                    continue  # one picture at a time
                to_name = control.to_name
                for label in _labels(tag, control):
                    found.setdefault(label.name, label)
        if to_name is None or not found:
            raise ProblemError(
                400,
                "the labeling configuration has no BrushLabels, PolygonLabels or RectangleLabels with labels, so there "
                f"is no from_name that a prediction could have. Add BrushLabels in {_ADVICE}",
            )
        names = frozenset(one.get("name", "") for one in root.iter() if one.get("name"))
        return cls(found, _image_key(images[to_name], to_name), names)

    def checked_names(self, regions: list[dict[str, Any]]) -> None:
        """Regions that an annotator drew come from controls of this configuration.

        Raises:
            ProblemError: 400; one comes from a control that it lacks.
        """
        for region in regions:
            name = region.get("from_name")
            if isinstance(name, str) and name not in self.names:
                raise ProblemError(
                    400,
                    f"a region has the from_name {name[:80]!r}, and the labeling configuration has no control of that "
                    f"name: it has {', '.join(sorted(self.names))[:300]}. Label Studio stores such regions and never "
                    f"shows them. Name the control so in {_ADVICE}, or load the page again after it was changed",
                )


def _root(text: str) -> ElementTree.Element:
    if len(text) > _MOST_BYTES:
        raise ProblemError(413, f"a labeling configuration of {len(text):,} characters is too long")
    if "<!" in text.replace("<!--", ""):  # declarations: entities that grow, files of this machine
        raise ProblemError(400, "the labeling configuration has a declaration (<!DOCTYPE or CDATA). Take it out")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - there is no declaration in it
    except (ElementTree.ParseError, ValueError) as error:
        raise ProblemError(400, f"the labeling configuration is no XML: {error}") from error


def _control(tag: ElementTree.Element, kind: str, images: dict[str, ElementTree.Element]) -> Control:
    name, aims = tag.get("name", ""), (tag.get("toName") or "").split(",")
    for aim in aims:
        if aim.strip() in images and name:
            return Control(name, aim.strip(), kind)
    raise ProblemError(
        400,
        f"{tag.tag} {name!r} of the labeling configuration has toName={tag.get('toName')!r}, and its Image is "
        f"{', '.join(map(repr, images))}: a prediction's from_name and to_name would be refused. Mend it in {_ADVICE}",
    )


def _labels(tag: ElementTree.Element, control: Control) -> list[Label]:
    found = []
    for one in tag.iter("Label"):
        value = one.get("value", "").strip()
        name = (one.get("alias") or value).strip()
        words = [word.strip() for word in one.get("predicted_values", "").split(",") if word.strip()]
        if name and (words or value):
            found.append(Label(name, tuple(words) or (value,), control))
    return found


def _image_key(tag: ElementTree.Element, name: str) -> str:
    value = tag.get("value", "")
    if tag.get("valueList") or not value.startswith("$") or len(value) < 2:
        told = f"valueList={tag.get('valueList')!r}" if tag.get("valueList") else f"value={value!r}"
        raise ProblemError(400, f'Image {name!r} has {told}, and one picture of a task is read: value="$image"')
    return value[1:]
