"""What a manifest states, typed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clsclip_runtime.bundle.trust import doubt_of, trust_line

TRUNK, PRESENCE = "trunk", "presence"
NEEDED_BY = (TRUNK, PRESENCE)
FROM_FILTER, FROM_TRUNK = "filter", "trunk"
PROBABILITY, LOGIT = "probability", "logit"


@dataclass(frozen=True)
class ImageSpec:
    """How an image becomes the encoder's input: resized to size x size (pixels), then normalized per channel."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str
    interpolation: str


@dataclass(frozen=True)
class FeatureSpec:
    """An array that an encoder gives for every crop or word, and that this runtime never interprets.

    Attributes:
        name: as an output of the encoder and as an input of what needs it.
        shape: without the first axis, which is the crop or the word.
        dtype: ``float32``.
        needed_by: of ``trunk`` and ``presence``, those that read it.
        unit_norm: of a word's vector: its length is 1 after averaging over templates.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    needed_by: tuple[str, ...]
    unit_norm: bool = False

    @property
    def bytes(self) -> int:
        """Of one crop or word."""
        return 4 * math.prod(self.shape)


@dataclass(frozen=True)
class TextSpec:
    """How a word becomes features: put into every template, truncated and padded to context_length tokens.

    Attributes:
        context_length: tokens.
        templates: each holds ``{}`` once, where the word goes. One only, unless every feature is a vector.
        pad_token_id: fills up what is shorter.
        features: what the text encoder gives.
        matching: the feature by whose cosine words are compared with a detector's class names; None compares spelling.
    """

    context_length: int
    templates: tuple[str, ...]
    pad_token_id: int
    features: tuple[FeatureSpec, ...]
    matching: str | None


@dataclass(frozen=True)
class MaskSpec:
    """Size of the logits (pixels) and the probability above which a pixel belongs to the word."""

    threshold: float
    height: int
    width: int


MOST_TOKENIZER_BYTES = 1 << 25

MASK_THRESHOLDS = (1e-6, 1 - 1e-6)
"""Lowest and highest probability that a pixel of a mask may have to exceed."""

MOST_CONFIDENCE = 50.0
"""Largest least confidence, a logit, that a bundle or a checkpoint may state."""


@dataclass(frozen=True)
class PresenceSpec:
    """Where presence comes from.

    Attributes:
        source: ``filter`` is ``presence.onnx``, which runs before the trunk; ``trunk`` is an output of the trunk.
        form: ``probability``, or ``logit`` of one.
        threshold: a probability; 0 where none was fitted.
        least_confidence: the logits of masks that are less sure are lowered, see
            :mod:`clsclip_runtime.masks.confidence`; 0 where none was fitted.
    """

    source: str
    form: str
    threshold: float
    least_confidence: float = 0.0


@dataclass(frozen=True)
class TilesSpec:
    """How the whole image is searched in overlapping tiles too.

    Attributes:
        scales: for each scale how many tiles there are along either side.
        overlap: what neighbors share, as a share of a tile's side.
        presence_threshold: a probability, higher than a whole image's as a rule: a tile is a part that nobody chose.
    """

    scales: tuple[int, ...]
    overlap: float
    presence_threshold: float


@dataclass(frozen=True)
class MemorySpec:
    """Estimated peaks of activations in bytes.

    Attributes:
        crop_bytes: of one crop in the image encoder.
        pair_bytes: of one pair in the trunk.
        presence_pair_bytes: of one crop and word in ``presence.onnx``.
        word_bytes: of one row of tokens in the text encoder.
    """

    crop_bytes: int
    pair_bytes: int
    presence_pair_bytes: int
    word_bytes: int


@dataclass(frozen=True)
class ProfileSpec:
    """Smallest, usual and largest numbers of crops, classes and pairs of engines with fixed shapes."""

    crops: tuple[int, int, int]
    classes: tuple[int, int, int]
    pairs: tuple[int, int, int]


@dataclass(frozen=True)
class DetectorSpec:
    """How a detector is run, so that its file need not be asked.

    Attributes:
        output_format: how its outputs are laid out, one of ``DETECTOR_FORMATS`` (see ``detectors.layouts``).
        names: class names by number.
        height: of the input, pixels.
        width: of the input, pixels.
        channel_order: of the input, "rgb" or "bgr".
        input_scale: the input's value for white, 1 or 255.
        letterbox: where an image lies in the input, "center" or "top-left"; "stretch" where it fills it.
        batch: images that one call takes; None for any number.
        input_type: "float32" or "float16".
        class_agnostic: it finds things without knowing their class, so its boxes may be any word.
        license: of its weights.
    """

    output_format: str
    names: tuple[str, ...]
    height: int
    width: int
    channel_order: str
    input_scale: float
    letterbox: str
    batch: int | None
    input_type: str
    class_agnostic: bool
    license: str


@dataclass(frozen=True)
class DomainTest:
    """A line through features that tells images which the model does not know.

    Attributes:
        weights: by image feature of d values a place: 2 d numbers, of its mean and of its standard deviation over its
            places.
        bias: added; above 0 an image is far from what the model knows.
    """

    weights: Mapping[str, tuple[float, ...]]
    bias: float


@dataclass(frozen=True)
class DomainSpec:
    """What a model knows: a name, a description that completes "it knows", and a test, or None."""

    name: str
    description: str
    test: DomainTest | None


@dataclass(frozen=True)
class FileEntry:
    """What a file of the bundle must be: lower-case hexadecimal SHA-256 and size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The checked manifest; ``raw`` is the whole document as it was read.

    ``presence`` is None when the bundle cannot tell it, ``detector`` when it has none, ``tiles`` when nobody fitted
    them, ``domain`` when nothing is stated.
    """

    name: str
    description: str
    license: str
    precision: str
    model: Mapping[str, Any]
    image: ImageSpec
    features: tuple[FeatureSpec, ...]
    text: TextSpec
    mask: MaskSpec
    presence: PresenceSpec | None
    memory: MemorySpec
    profile: ProfileSpec
    files: Mapping[str, FileEntry]
    raw: Mapping[str, Any]
    detector: DetectorSpec | None = None
    license_parts: Mapping[str, str] = field(default_factory=dict)
    tiles: TilesSpec | None = None
    domain: DomainSpec | None = None

    @property
    def trust(self) -> str:
        """How it was trained and what validation found, in a line."""
        return trust_line(self.raw)

    @property
    def doubt(self) -> str | None:
        """A note for every result of a model that nobody validated; None of others."""
        return doubt_of(self.raw)

    @property
    def licenses(self) -> dict[str, str]:
        """License of every part that states one: the weights, and files that come from elsewhere."""
        parts = {"weights": self.license}
        if self.detector is not None:
            parts["detector"] = self.detector.license
        return parts | {one.removesuffix(".onnx"): text for one, text in self.license_parts.items()}

    def image_features(self, needed_by: str) -> tuple[str, ...]:
        """Names of the image features that ``trunk`` or ``presence`` reads."""
        return tuple(one.name for one in self.features if needed_by in one.needed_by)

    def text_features(self, needed_by: str) -> tuple[str, ...]:
        """Names of the text features that ``trunk`` or ``presence`` reads."""
        return tuple(one.name for one in self.text.features if needed_by in one.needed_by)
