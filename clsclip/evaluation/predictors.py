"""Anything that draws masks for words in a picture: a bundle, or a checkpoint in PyTorch.

Both preprocess, upsample and threshold by the same functions of ``clsclip_runtime``, so only the network differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clsclip.checkpoint import MASK_THRESHOLD, given_towers, least_confidence_of, load_checkpoint, mask_threshold_of
from clsclip.devices import choose_device
from clsclip.errors import CheckpointError
from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip.towers import Towers
from clsclip_runtime.images import preprocess
from clsclip_runtime.masks.confidence import lowered
from clsclip_runtime.masks.upsampling import logit, mask_at
from clsclip_runtime.regions import TILES, ZoomIn
from clsclip_runtime.results.result import Result
from clsclip_runtime.segmenter import Segmenter
from clsclip_runtime.text.mending import fill_template

DEFAULT_TEMPLATES = ("a picture of a {}",)
"""Prompts of checkpoints that name none."""

CHECKPOINT_SUFFIX = ".safetensors"

_PAIRS_PER_CALL = 32


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model draws in one picture.

    Attributes:
        masks: (K, H, W) bool, one mask a word.
        presence: (K,) float32 in 0..1, or None when the model has no presence.
        absent: (K,) bool, words that were not drawn because of their presence; None is none.
    """

    masks: NDArray[np.bool_]
    presence: NDArray[np.float32] | None = None
    absent: NDArray[np.bool_] | None = None

    @property
    def present(self) -> NDArray[np.bool_]:
        """(K,) bool, the words that were drawn."""
        return np.ones(len(self.masks), np.bool_) if self.absent is None else ~self.absent


class Logits(NamedTuple):
    """Mask logits (K, h, w) at the model's resolution, and presence (K,) or None; both float32."""

    logits: NDArray[np.float32]
    presence: NDArray[np.float32] | None


class Predictor(Protocol):
    """Draws masks for words. ``name`` is for tables."""

    @property
    def name(self) -> str: ...

    def predict(
        self, image: NDArray[np.uint8], words: Sequence[str], mask_threshold: float | None = None
    ) -> Prediction:
        """Segment K different words in a picture (H, W, 3) uint8 RGB.

        With ``mask_threshold`` the picture is a box of these words: all are drawn, and that is the probability above
        which a pixel is theirs; see :class:`clsclip_runtime.ZoomIn`.
        """
        ...


def _presence(result: Result) -> NDArray[np.float32] | None:
    """(K,) presence of the words; None where it was not asked."""
    scores = [one.presence for one in result.searches]
    return None if None in scores else np.array(scores, np.float32)


@dataclass(frozen=True)
class Search:
    """How the runtime searches whole pictures, as ``Segmenter`` takes it.

    Attributes:
        zoom_in: look at what the bundle's own detector finds, or at tiles where it has none; None does not.
        tiles: search overlapping tiles too.
        refine: give masks the edges of the picture.
    """

    zoom_in: ZoomIn | None = None
    tiles: bool = False
    refine: bool = False

    @property
    def name(self) -> str:
        """For tables; empty for the plain search."""
        parts = (("zoom-in", self.zoom_in and not self.tiles), ("tiles", self.tiles), ("refined", self.refine))
        return "".join(f" + {name}" for name, used in parts if used)

    def asked(self) -> dict[str, object]:
        """Arguments of a call."""
        return {
            "zoom_in": self.zoom_in or False,
            "regions": TILES if self.tiles else None,
            "refine": self.refine,
        }


class BundlePredictor:
    """A bundle in the runtime.

    Args:
        segmenter: the loaded bundle.
        presence_threshold: words whose presence is below it get an empty mask; 0 is the paper's behaviour, None the
            bundle's own threshold.
        search: how whole pictures are searched.
        name: for tables; None is the bundle's own.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        presence_threshold: float | None = 0.0,
        search: Search | None = None,
        name: str | None = None,
    ) -> None:
        self.segmenter, self.presence_threshold, self.search = segmenter, presence_threshold, search or Search()
        shown = ("" if presence_threshold == 0 else " + presence") + self.search.name
        self.name = f"{name or segmenter.bundle.manifest.name} ({segmenter.backend}){shown}"

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the model comes from, as its manifest says."""
        found = self.segmenter.bundle.manifest.raw.get("provenance")
        return found if isinstance(found, Mapping) else {}

    def logits(self, image: NDArray[np.uint8], words: Sequence[str]) -> Logits:
        """Return mask logits and presence of words, whatever their presence is."""
        result = self.segmenter(image, words, presence_threshold=0.0)
        return Logits(result.logits, _presence(result))

    def predict(
        self, image: NDArray[np.uint8], words: Sequence[str], mask_threshold: float | None = None
    ) -> Prediction:
        if mask_threshold is None:
            asked: Any = self.search.asked()
            result = self.segmenter(image, words, presence_threshold=self.presence_threshold, **asked)
            return Prediction(result.masks, _presence(result), np.array([not one.segmented for one in result.searches]))
        result = self.segmenter(image, words, presence_threshold=0.0)
        masks = [mask_at(one, result.size, result.mask_logit + logit(mask_threshold)) for one in result.logits]
        return Prediction(np.stack(masks), _presence(result))


class CheckpointPredictor:
    """A checkpoint in PyTorch.

    Args:
        model: in evaluation mode.
        templates: prompts with ``{}`` for the word; their text tokens are averaged.
        presence_threshold: words whose presence is below it get an empty mask; 0 is the paper's behaviour.
        name: for tables.
        device: where the model runs.
        mask_threshold: probability above which a pixel is a word's.
        least_confidence: logits of masks that are less sure are lowered; 0 lowers none.
        provenance: where the model comes from, as its checkpoint says.
    """

    def __init__(
        self,
        model: ClsClip,
        templates: Sequence[str] = DEFAULT_TEMPLATES,
        presence_threshold: float = 0.0,
        name: str = "checkpoint",
        device: str = "cpu",
        mask_threshold: float = MASK_THRESHOLD,
        provenance: Mapping[str, Any] | None = None,
        least_confidence: float = 0.0,
    ) -> None:
        self.model, self.least_confidence = model.eval().to(device), least_confidence
        self.templates, self.presence_threshold, self.device = tuple(templates), presence_threshold, device
        self.mask_threshold, self.provenance = mask_threshold, provenance or {}
        self.name = f"{name} (pytorch)" + (" + presence" if presence_threshold else "")
        self._spec = image_spec(model)
        self._encoded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def predict(
        self, image: NDArray[np.uint8], words: Sequence[str], mask_threshold: float | None = None
    ) -> Prediction:
        height, width = image.shape[:2]
        logits, presence = self.logits(image, words)
        absent = np.zeros(len(words), np.bool_)
        if presence is not None and mask_threshold is None:
            absent = presence < self.presence_threshold
        if self.least_confidence and mask_threshold is None:
            logits = lowered(logits, self.least_confidence)
        mask_logit = logit(self.mask_threshold) + logit(mask_threshold or 0.5)
        masks = np.zeros((len(words), height, width), np.bool_)
        for at in np.flatnonzero(~absent):
            masks[at] = mask_at(logits[at], (width, height), mask_logit)
        return Prediction(masks, presence, absent)

    def pixel_values(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Turn (H, W, 3) uint8 into (1, 3, S, S) float32, by the runtime's preprocessing."""
        return torch.from_numpy(preprocess(Image.fromarray(image), self._spec))[None].to(self.device)

    @torch.no_grad()
    def text_tokens(self, words: Sequence[str]) -> torch.Tensor:
        """Return text tokens (K, d_text), averaged over the templates."""
        return self._encode(words)[0]

    @torch.no_grad()
    def logits(self, image: NDArray[np.uint8], words: Sequence[str]) -> Logits:
        """Return mask logits (K, h, w) at the model's resolution, and presence (K,), both float32."""
        values = self.pixel_values(image)
        tokens, features = self._encode(words)
        stem, pooled, patches, *detail = self.model.encode_image(values)
        presence = self.model.presence(pooled, patches, features)[0]
        parts = []
        for start in range(0, len(words), _PAIRS_PER_CALL):
            index = torch.arange(start, min(start + _PAIRS_PER_CALL, len(words)), device=self.device)
            parts.append(self.model.trunk(stem, patches, tokens, torch.zeros_like(index), index, *detail))
        logits = torch.cat(parts)
        if not bool(torch.isfinite(logits).all()):
            raise CheckpointError(f"{self.name} gives NaN or infinity: its training diverged or its file is damaged.")
        return Logits(logits.float().cpu().numpy(), presence.float().cpu().numpy())

    def _encode(self, words: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Text tokens (K, d_text) and text features (K, f), averaged over the templates as the runtime does."""
        for word in words:
            if word not in self._encoded:
                texts = [fill_template(template, word) for template in self.templates]
                tokens, features = self.model.encode_words(texts)
                feature = torch.nn.functional.normalize(features.mean(dim=0), dim=-1)
                self._encoded[word] = (tokens.mean(dim=0), feature)
        found = [self._encoded[word] for word in words]
        return torch.stack([token for token, _ in found]), torch.stack([feature for _, feature in found])


class Prompted:
    """A model that is asked several words for some classes: a class is what any of its prompts finds.

    Args:
        predictor: the model.
        prompts: of classes that are asked by other words than their name.
    """

    def __init__(self, predictor: Predictor, prompts: Mapping[str, Sequence[str]]) -> None:
        self.predictor, self.prompts = predictor, {name: tuple(words) for name, words in prompts.items()}

    @property
    def name(self) -> str:
        return self.predictor.name

    def predict(
        self, image: NDArray[np.uint8], words: Sequence[str], mask_threshold: float | None = None
    ) -> Prediction:
        """Return masks of classes, each the union of those of its prompts, with the highest presence."""
        prompts = [self.prompts.get(word, (word,)) for word in words]
        asked = list(dict.fromkeys(word for own in prompts for word in own))
        found = self.predictor.predict(image, asked, mask_threshold)
        rows = [[asked.index(word) for word in own] for own in prompts]
        return Prediction(
            np.stack([found.masks[own].any(axis=0) for own in rows]),
            None if found.presence is None else np.array([found.presence[own].max() for own in rows], np.float32),
            np.array([not found.present[own].any() for own in rows]),
        )


def open_predictor(
    path: Path | None,
    *,
    backend: str = "auto",
    threads: int | None = None,
    presence: bool = False,
    device: str = "cpu",
    towers: Towers | str | None = None,
    pretrained: str | None = None,
    search: Search | None = None,
) -> Predictor:
    """Open a model by its path: a bundle's folder, a checkpoint's ``.safetensors``; None is the embedded bundle.

    Args:
        path: the model.
        backend: engine of a bundle.
        threads: threads of a bundle's engine; None lets it decide.
        presence: give absent words an empty mask, by the model's own threshold.
        device: where a checkpoint runs: "auto", "cpu", "cuda".
        towers: of a checkpoint, or their name or folder; None finds those that it names.
        pretrained: weights of ``towers`` by name.
        search: how a bundle searches whole pictures; checkpoints search them plainly.

    Raises:
        CheckpointError, TowersError: the checkpoint or its towers cannot be loaded.
        BundleError, BackendError: the bundle cannot be loaded.
        DeviceError: the device is unknown, or not there.
    """
    if path is None or path.suffix != CHECKPOINT_SUFFIX:
        name = None if path is None else path.name.removesuffix(".clsclip")
        segmenter = Segmenter.load(path, backend, threads=threads)
        return BundlePredictor(segmenter, None if presence else 0.0, search, name)
    if isinstance(towers, str):
        towers = given_towers(path, towers, pretrained)
    chosen = str(choose_device(device))
    model, header = load_checkpoint(path, towers)
    provenance = header["provenance"]
    threshold = float(provenance.get("presence_threshold") or 0.0) if presence else 0.0
    templates = provenance.get("templates") or DEFAULT_TEMPLATES
    folder = path.absolute().parent.name
    name = f"{folder}/{path.stem}" if folder else path.stem
    least = least_confidence_of(provenance) if presence else 0.0
    return CheckpointPredictor(
        model, templates, threshold, name, chosen, mask_threshold_of(provenance), provenance, least
    )
