"""What a request asks, checked."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clsclip_runtime.options import is_name
from clsclip_runtime.regions.crops import ZoomIn
from clsclip_runtime.regions.proposals import Proposals
from clsclip_serve.problems import ProblemError, sentence

MaskFormat = Literal["rle", "png", "polygons", "none"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


_Model = TypeVar("_Model", bound=_Strict)


class Zoom(_Strict):
    """See ``clsclip.ZoomIn``."""

    crop_margin: Number | None = None
    mask_threshold: Share | None = None
    mask_margin: Number | None = None
    fallback: Literal["whole-image", "none"] | None = None


class Box(_Strict):
    """A region: corners in pixels, and the class that it is of, if it is of one."""

    box: tuple[Number, Number, Number, Number]
    name: str | None = None


class Options(_Strict):
    """Options of a call; names and meanings are those of ``Segmenter.predict``.

    ``masks``: ``rle`` (COCO's compressed runs), ``png`` (base64, 1 bit), ``polygons`` (rings), ``none``. ``max_side``
    makes masks at a smaller size: its longer side.
    """

    presence_filter: bool | None = None
    max_classes: Annotated[int, Field(ge=1)] | None = None
    presence_threshold: Share | None = None
    zoom_in: bool | Zoom = False
    regions: Literal["tiles"] | list[Box | tuple[Number, Number, Number, Number]] | None = None
    refine: bool = False
    masks: MaskFormat = "rle"
    max_side: Annotated[int, Field(ge=1, le=65535)] | None = None

    def of_call(self) -> tuple[tuple[str, Any], ...]:
        """What ``Segmenter`` takes, but regions, in a form that can be compared."""
        zoom: Hashable = self.zoom_in
        if isinstance(self.zoom_in, Zoom):
            zoom = ZoomIn(**self.zoom_in.model_dump(exclude_none=True))
        found = {
            "presence_filter": self.presence_filter,
            "max_classes": self.max_classes,
            "presence_threshold": self.presence_threshold,
            "zoom_in": zoom,
            "refine": self.refine,
        }
        return tuple(found.items())

    def boxes(self) -> Any:
        """The regions as ``Segmenter`` takes them."""
        if self.regions is None or isinstance(self.regions, str):
            return self.regions
        corners = [one.box if isinstance(one, Box) else one for one in self.regions]
        names = [one.name if isinstance(one, Box) else None for one in self.regions]
        return Proposals.from_boxes(corners, names, source="request")


class StickerImage(_Strict):
    """A picture in JSON."""

    type: Literal["base64", "url", "id"]
    value: str


Classes = list[str] | dict[str, str | list[str]]


class Asked(Options):
    """A request in JSON: words, or prompts by class, and options."""

    classes: Classes


class AskedOfImage(Asked):
    """As ``Asked``, with the picture in it."""

    image: StickerImage


def options_of(text: str | None) -> Options:
    """Options in a field of a form. ProblemError 422 if they are none."""
    return Options() if text is None or not text.strip() else _checked(Options, text, "options")


def asked_of(body: bytes) -> AskedOfImage:
    """A request in JSON. ProblemError 422 if it is none."""
    return _checked(AskedOfImage, body, "the request")


def _checked(kind: type[_Model], text: str | bytes, what: str) -> _Model:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        told = "; ".join(sentence(dict(one), "") for one in error.errors()[:5])
        raise ProblemError(422, f"{what}: {told}") from error


def checked_classes(classes: Classes, most: int) -> Classes:
    """The words of a request. ProblemError 413 if there are too many of them."""
    count = (
        sum(1 if isinstance(one, str) else len(one) for one in classes.values())
        if isinstance(classes, dict)
        else len(classes)
    )
    if count > most:
        raise ProblemError(413, f"{count:,} words were asked, and at most {most:,} may be. Ask in several requests")
    return classes


def is_image_id(text: str) -> bool:
    """Whether a text may be the identifier of a picture that is kept."""
    return is_name(text, 64) and all(one in "0123456789abcdef" for one in text)
