"""What weights do not show and results hang on: the activation, the normalization of pixels, the filter that resizes.

The file's own code tells it, a configuration beside it, a tag, the name of the towers, or who asks. Two that contradict
each other are refused, and so is a file of which nothing tells the activation: GELU and QuickGELU differ a little
everywhere, and no check of the weights can see which was meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import open_clip

from clsclip.errors import TowersError
from clsclip.weights.processors import FILTERS

Value = TypeVar("Value")

ACTIVATIONS = ("gelu", "quick_gelu")

OPEN_CLIP_CONFIG, HF_CONFIG = "open_clip_config.json", "config.json"


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of each channel of [0, 1] RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def name(self) -> str:
        """As ``--mean-std`` has it, or the numbers."""
        return next((name for name, value in MEAN_STD.items() if value == self), f"{self.mean} and {self.std}")


MEAN_STD = {
    "openai": MeanStd(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
    "imagenet": MeanStd((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": MeanStd((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""What ``--mean-std`` takes."""


@dataclass(frozen=True)
class Asked:
    """What is asked for, or known from elsewhere; None leaves it to the weights.

    Attributes:
        activation: one of :data:`ACTIVATIONS`.
        mean_std: normalization of pixels.
        by: who asks, for messages.
        wins: take what is asked whatever the weights tell: a checkpoint knows what it was trained on.
    """

    activation: str | None = None
    mean_std: MeanStd | None = None
    by: str = "what is asked for"
    wins: bool = False


@dataclass(frozen=True)
class Told:
    """What one source says of weights; None is what it does not tell.

    Attributes:
        source: for messages, as the subject of "says".
    """

    source: str
    activation: str | None = None
    mean_std: MeanStd | None = None
    interpolation: str | None = None


@dataclass(frozen=True)
class Flavor:
    """What was chosen.

    Attributes:
        activation: ``gelu`` or ``quick_gelu``, or another that a source states.
        why: who says so.
        mean_std: normalization of pixels.
        interpolation: filter that resizes.
        notes: what was chosen and why, for people.
    """

    activation: str
    why: str
    mean_std: MeanStd
    interpolation: str
    notes: tuple[str, ...]


TRANSFORMERS = MEAN_STD["openai"]
"""What transformers takes for a CLIP whose folder has no processor."""


def choose(
    told: Sequence[Told], asked: Asked, name: str | None, origin: str, *, without_processor: bool = False
) -> Flavor:
    """Choose a flavor.

    Args:
        told: by the sources, the most reliable one first.
        asked: on the command line or by a checkpoint.
        name: of the towers, in open_clip; None for towers of a folder.
        origin: of the weights, for messages.
        without_processor: whether they are described by a configuration of transformers that has no processor.

    Raises:
        TowersError: two sources contradict each other, or nothing tells.
    """
    if asked.wins and asked.activation and asked.mean_std:
        told = [
            Told(
                asked.by,
                asked.activation,
                asked.mean_std,
                next((one.interpolation for one in told if one.interpolation), None),
            )
        ]
    activation, why = agreed("--activation", [(one.source, one.activation) for one in told], asked.activation, asked.by)
    if activation is None:
        activation, why = usual_activation(name), f"as all weights of {name} that open_clip knows"
    untold = "" if name is None or tags_of(name) else f", and open_clip knows no weights of {name}"
    if activation is None:
        raise TowersError(
            f"{origin} does not tell whether it runs GELU or QuickGELU{untold}, and with the wrong one every result "
            "is slightly wrong. Say it: --activation quick_gelu for OpenAI's weights, what was fine-tuned from them, "
            "DFN's and MetaCLIP's; --activation gelu for those that open_clip trained, such as LAION's and DataComp's."
        )
    states = [(one.source, one.mean_std) for one in told]
    mean_std, whose = agreed("--mean-std", states, asked.mean_std, asked.by)
    notes = [f"{origin}: {activation} ({why})"]
    if mean_std is None and without_processor:
        mean_std = TRANSFORMERS
        notes.append(
            f"{origin}: mean and std are {mean_std.name}'s, as transformers has it without a processor; --mean-std"
        )
    elif mean_std is None:
        mean_std = usual_mean_std(name)
        if mean_std is None:
            more = untold or (f", and weights of {name} have different ones" if name else "")
            raise TowersError(
                f"{origin} does not tell the mean and standard deviation of its pixels{more}. Say them: --mean-std "
                f"{' or '.join(MEAN_STD)}."
            )
        notes.append(
            f"{origin}: mean and std are {mean_std.name}'s, which is usual: the file does not tell; --mean-std"
        )
    else:
        notes.append(f"{origin}: mean and std are {mean_std.name}'s ({whose})")
    interpolation = next((one.interpolation for one in told if one.interpolation), "bicubic")
    return Flavor(activation, why, mean_std, interpolation, tuple(notes))


def agreed(
    option: str, told: Sequence[tuple[str, Value | None]], asked: Value | None, by: str
) -> tuple[Value | None, str]:
    """The one value that all who tell it agree on, and who told it; None where nobody does."""
    known = [(source, value) for source, value in told if value is not None]
    if asked is not None:
        known.append((by, asked))
    for source, value in known[1:]:
        if value != known[0][1]:
            raise TowersError(
                f"{known[0][0]} says {shown(known[0][1])}, and {source} says {shown(value)}: with the wrong one every "
                f"result is slightly wrong. Give towers and weights that belong together; {option} is for files that "
                "do not tell."
            )
    return (known[0][1], known[0][0]) if known else (None, "")


def shown(value: object) -> str:
    """A value for people."""
    return f"mean and std of {value.name}" if isinstance(value, MeanStd) else str(value)


def tags_of(name: str) -> list[dict[str, Any]]:
    """open_clip's preprocessing of every tag of a name."""
    return [dict(open_clip.get_pretrained_cfg(name, tag)) for tag in open_clip.list_pretrained_tags_by_model(name)]


def usual_activation(name: str | None) -> str | None:
    """The activation of a name, where all weights that open_clip knows of it have one; None where it knows none."""
    if name is None:
        return None
    if (open_clip.get_model_config(name) or {}).get("quick_gelu"):
        return "quick_gelu"
    tags = tags_of(name)
    others = any(bool(tag.get("quick_gelu")) for tag in tags)
    return None if others or not tags or f"{name}-quickgelu" in open_clip.list_models() else "gelu"


def usual_mean_std(name: str | None) -> MeanStd | None:
    """The normalization of a name; None where its tags differ, and where it has none."""
    found = {mean_std_of(tag) for tag in tags_of(name)} if name is not None else set()
    return found.pop() if len(found) == 1 else None


def mean_std_of(preprocess: Mapping[str, Any]) -> MeanStd:
    """Mean and standard deviation of a preprocessing configuration; ValueError where they are none."""
    mean, std = (tuple(float(value) for value in preprocess[key]) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"mean {mean} and std {std} must be three numbers each, std above 0")
    return MeanStd((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


def interpolation_of(preprocess: Mapping[str, Any]) -> str | None:
    """The filter of an open_clip preprocessing configuration; ``random`` ones were trained with several."""
    found = preprocess.get("interpolation")
    return str(found) if found in FILTERS else None


def told_by_tag(name: str, tag: str) -> Told:
    """What open_clip knows of a tag."""
    preprocess = dict(open_clip.get_pretrained_cfg(name, tag))
    # OpenAI's weights were trained with QuickGELU, which open_clip keeps in the tag and not in the model.
    quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu") or preprocess.get("quick_gelu"))
    found = "quick_gelu" if quick else "gelu"
    return Told(f"the tag {tag}", found, mean_std_of(preprocess), interpolation_of(preprocess))


def told_by_name(name: str) -> Told:
    """What a name says: ``-quickgelu`` is meant, and its absence says nothing."""
    quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu"))
    return Told(f"the name {name}", "quick_gelu" if quick else None)
