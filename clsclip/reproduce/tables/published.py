"""The paper's tables: which models each compares, and the published figures.

Figures are mIoU and FB-IoU in percent on PASCAL-5i, Table 5 on COCO-20i. The tables have the paper's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from clsclip.model import ModelConfig

Settings = dict[str, object]
"""Fields of :class:`ModelConfig` in which a row differs from the paper's form."""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        label: as printed; also the name of its folder of runs, made safe.
        settings: gives the model's settings from the number of layers of the image tower.
        training: fields of the training's settings in which it differs from the paper's.
        regions: how masks are made: ``"none"`` asks the whole picture, ``"regions"`` zooms into the given regions or
            the detector's (ClsCLIP+), ``"boxes"`` takes the detector's boxes alone as masks.
        given: the name of a model that is given as a bundle, in place of one that is trained here; "" trains one.
        folds: published mIoU by fold, empty when the paper gives only the mean.
        miou: published mean, None when there is none.
        fb_iou: published mean, None when there is none.
        published: whether the paper has this row; rows of this project's own stand below the paper's.
    """

    label: str
    settings: Callable[[int], Settings]
    training: Settings = field(default_factory=dict)
    regions: str = "none"
    given: str = ""
    folds: tuple[float, ...] = ()
    miou: float | None = None
    fb_iou: float | None = None
    published: bool = True

    def config(self, layers: int, base: ModelConfig) -> ModelConfig:
        """The row's model for a tower of ``layers`` layers; ``base`` gives the sizes of the decoder."""
        return replace(base, **self.settings(layers))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        number: 1 to 7.
        title: what it compares.
        data: the data set it was published on.
        rows: in printing order.
        note: what a reader has to know to compare.
    """

    number: int
    title: str
    data: str
    rows: tuple[Row, ...]
    note: str = ""


def navigation(layers: int, place: str) -> tuple[int, ...]:
    """The paper's navigation sets for 12 layers, and the ones that stand for them in shallower towers.

    Raises:
        KeyError: ``place`` is none of first, shallow, spread, last.
    """
    if layers >= 12:
        return {"first": (0, 1, 2), "shallow": (2, 3, 4), "spread": (2, 5, 8), "last": (9, 10, 11)}[place]
    last = layers - 1
    return {
        "first": tuple(range(min(3, layers))),
        "shallow": tuple(range(min(2, last), min(5, layers))),
        "spread": tuple(sorted({1 * layers // 6, 3 * layers // 6, 5 * layers // 6})),
        "last": tuple(range(max(0, layers - 3), layers)),
    }[place]


def at(place: str) -> Callable[[int], Settings]:
    """Settings of a row that replaces [CLS] in another set of layers."""
    return lambda layers: {"navigation_layers": navigation(layers, place)}


def fixed(**settings: object) -> Callable[[int], Settings]:
    """Settings that do not depend on the tower."""
    return lambda layers: dict(settings)


ZOOMED = (
    "Published figures are of ClsCLIP+ (regions from YOLO); without --detector or --regions this run is whole-image."
)

REPLACE = Row("replace [CLS]", at("shallow"), miou=71.5, fb_iou=80.6)
ASK_ABSENT: Settings = {"absent": 0.25}
ABSENT = Row("ClsCLIP, absent words asked in training", at("shallow"), ASK_ABSENT, published=False)
WITH_WORD = Row(
    "ClsCLIP, absent words asked, decoder sees the word",
    lambda layers: {
        "navigation_layers": navigation(layers, "shallow"),
        "decoder_inputs": ("text_token", "similarity"),
    },
    ASK_ABSENT,
    published=False,
)

CLIPSEG = Row("CLIPSeg", fixed(), given="clipseg", published=False)
"""The paper's baseline in Tables 4 and 5, from a bundle of its published weights."""

TABLES = {
    table.number: table
    for table in (
        Table(
            1,
            "Use of the text token",
            "pascal",
            (
                Row("channel attention", fixed(use_of_text="channel"), miou=68.3, fb_iou=78.6),
                Row("spatial attention", fixed(use_of_text="spatial"), miou=60.5, fb_iou=73.8),
                REPLACE,
                Row("FiLM (CLIPSeg's idea)", fixed(use_of_text="film"), published=False),
            ),
            ZOOMED,
        ),
        Table(
            2,
            "Frozen encoder or visual prompts",
            "pascal",
            (
                Row(
                    "50 visual prompts",
                    lambda layers: {"navigation_layers": navigation(layers, "shallow"), "visual_prompts": 50},
                ),
                REPLACE,
            ),
            "The paper reports that prompts are worse on unseen classes.",
        ),
        Table(
            3,
            "Navigation layers",
            "pascal",
            (
                Row("first {0,1,2}", at("first"), miou=66.9, fb_iou=77.9),
                Row("spread {2,5,8}", at("spread"), miou=67.0, fb_iou=79.0),
                Row("last {9,10,11}", at("last"), miou=59.8, fb_iou=74.4),
                Row("shallow {2,3,4}", at("shallow"), miou=71.5, fb_iou=80.6),
            ),
            ZOOMED + " Towers of fewer than 12 layers use the first, spread, last and shallow layers they have.",
        ),
        Table(
            4,
            "PASCAL-5i, zero-shot",
            "pascal",
            (
                Row("ClsCLIP", at("shallow"), folds=(59.9, 61.2, 50.5, 54.1), miou=56.4, fb_iou=67.9),
                Row("ClsCLIP+", at("shallow"), regions="regions", miou=71.5, fb_iou=80.6),
                ABSENT,
                WITH_WORD,
                CLIPSEG,
            ),
        ),
        Table(
            5,
            "COCO-20i, zero-shot",
            "coco",
            (
                Row("ClsCLIP", at("shallow"), folds=(34.1, 40.0, 38.2, 35.7), miou=37.0, fb_iou=64.5),
                ABSENT,
                WITH_WORD,
                CLIPSEG,
            ),
        ),
        Table(
            6,
            "Boxes alone as masks",
            "pascal",
            (
                Row("YOLO boxes alone", at("shallow"), regions="boxes", miou=55.5),
                Row("ClsCLIP+", at("shallow"), regions="regions", miou=71.5, fb_iou=80.6),
            ),
            "Needs --detector.",
        ),
        Table(
            7,
            "Regions by hand instead of by YOLO",
            "pascal",
            (
                Row("YOLO regions", at("shallow"), regions="regions", miou=26.2),
                Row("manual regions", at("shallow"), regions="manual", miou=49.8),
            ),
            "Published on a hard subset of fold 0. Needs --detector and --regions.",
        ),
    )
}
