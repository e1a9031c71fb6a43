"""What the export asks of a model: its graphs, what flows between them, and what a manifest says of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clsclip.base import WordSegmenter
from clsclip.preprocessing import image_spec
from clsclip_runtime.bundle import memory
from clsclip_runtime.bundle.specs import FROM_FILTER, PROBABILITY, ImageSpec

MASK_THRESHOLD = 0.5

DYNAMIC = {"pixel_values": "C", "token_ids": "K", "crop_index": "P", "class_index": "P"}
"""The first axis of the graphs' own inputs."""


@dataclass(frozen=True)
class Graph:
    """One graph of a bundle.

    Attributes:
        file: name in the bundle.
        module: what it computes, as it is exported.
        reference: what it must compute, as training does.
        inputs: example inputs by name, every dynamic axis above 1 so that none is baked in.
        axes: for each input, its dynamic axes and their names.
        outputs: output names.
    """

    file: str
    module: nn.Module
    reference: nn.Module
    inputs: dict[str, Tensor]
    axes: dict[str, dict[int, str]]
    outputs: tuple[str, ...]


class Architecture(ABC):
    """A model as the export sees it.

    Attributes:
        model: in evaluation mode.
        towers: its CLIP, with tokenizer.
        templates: prompts of a word, unless the model's header names others.
    """

    templates: tuple[str, ...] = ("a picture of a {}",)
    image_features: tuple[str, ...]
    """Names of what the image encoder gives for each crop."""

    text_features: tuple[str, ...]
    """Names of what the text encoder gives for each row."""

    def __init__(self, model: WordSegmenter) -> None:
        self.model, self.towers = model, model.towers

    @property
    def image(self) -> ImageSpec:
        """How images become ``pixel_values``."""
        return image_spec(self.model)

    @property
    @abstractmethod
    def mask_size(self) -> tuple[int, int]:
        """(h, w) of the mask logits."""

    @property
    def tokens(self) -> int:
        """Tokens of a crop in the image encoder."""
        return 1 + self.towers.grid**2

    @abstractmethod
    def graphs(self) -> list[Graph]:
        """Return the graphs of a bundle."""

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """Return the manifest's ``model``: for people, no runtime reads it."""

    @abstractmethod
    def description(self) -> str:
        """Return a sentence for people."""

    @abstractmethod
    def pair_bytes(self) -> int:
        """Estimate the peak of one (crop, class) pair in the trunk, in bytes."""

    def more(self) -> dict[str, Any]:
        """Give what else the manifest says of the model, by key."""
        return {}

    def memory(self) -> dict[str, int]:
        """Estimate the peaks of activations that the manifest states, in bytes."""
        towers, tokens = self.towers, self.tokens
        return {
            "crop_bytes": memory.crop_bytes(towers.image.size, tokens, towers.width),
            "pair_bytes": self.pair_bytes(),
            "presence_pair_bytes": memory.presence_pair_bytes(tokens),
            "word_bytes": memory.word_bytes(towers.context_length, towers.text_width),
        }

    def presence(self) -> dict[str, Any]:
        """Describe the presence graph; the threshold is fitted elsewhere."""
        return {"from": FROM_FILTER, "form": PROBABILITY, "threshold": 0.0}

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Turn texts into tokens, (K, L) int64."""
        return self.towers.tokenize(texts)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompted words: text features by name, (K, ...) each."""
        return dict(zip(self.text_features, self.model.encode_text(self.tokenize(texts)), strict=True))

    @torch.no_grad()
    def tensors(self, pixel_values: Tensor, token_ids: Tensor, pairs: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Return inputs of every graph by name.

        Args:
            pixel_values: (C, 3, S, S).
            token_ids: (K, L) int64.
            pairs: crop and class of every pair, (P) int64 each.
        """
        return {
            "pixel_values": pixel_values,
            "token_ids": token_ids,
            **dict(zip(self.image_features, self.model.encode_image(pixel_values), strict=True)),
            **dict(zip(self.text_features, self.model.encode_text(token_ids), strict=True)),
            "crop_index": pairs[0],
            "class_index": pairs[1],
        }

    def examples(self, crops: int = 2, classes: int = 3, pairs: int = 5, seed: int = 0) -> dict[str, Tensor]:
        """Make random inputs of every graph: C crops, K classes, P pairs that reach the first and last of both."""
        generator = torch.Generator().manual_seed(seed)
        towers, size = self.towers, self.towers.image.size
        pixel_values = torch.randn(crops, 3, size, size, generator=generator)
        count = int(towers.text.token_embedding.num_embeddings)
        lengths = torch.randint(3, towers.context_length, (classes,), generator=generator)
        ids = torch.randint(3, min(200, count), (classes, towers.context_length), generator=generator)
        end = towers.end_token if towers.pool_type == "eos" else count - 1
        for row, length in enumerate(lengths.tolist()):
            ids[row, length], ids[row, length + 1 :] = end or 0, 0
        index = torch.arange(pairs)
        return self.tensors(pixel_values, ids, (index % crops, (classes - 1) - index % classes))

    def graph(
        self,
        inputs: Mapping[str, Tensor],
        file: str,
        module: nn.Module,
        names: tuple[str, ...],
        outputs: tuple[str, ...],
        reference: nn.Module | None = None,
    ) -> Graph:
        """Make a graph of a module that takes ``names`` of ``inputs``."""
        dynamic = DYNAMIC | dict.fromkeys(self.image_features, "C") | dict.fromkeys(self.text_features, "K")
        axes = {name: {0: dynamic[name]} for name in names}
        module = module.eval()
        chosen = {name: inputs[name] for name in names}
        return Graph(file, module, module if reference is None else reference.eval(), chosen, axes, outputs)


class ImageEncoder(nn.Module):
    """pixel_values (C, 3, S, S) -> what the architecture's ``image_features`` name."""

    def __init__(self, model: WordSegmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return self.model.encode_image(pixel_values)


class TextEncoder(nn.Module):
    """token_ids (K, L) int64 -> what the architecture's ``text_features`` name."""

    def __init__(self, model: WordSegmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor) -> tuple[Tensor, ...]:
        return self.model.encode_text(token_ids)
