"""CLIP's two towers behind one small interface: stem, layers, text token, features, tokenizer, preprocessing.

Any CLIP of ``open_clip`` whose image tower is a plain ViT with a [CLS] token will do, by name, by local weights file,
or from a folder in open_clip's ``local-dir`` layout (``open_clip_config.json`` and ``open_clip_model.safetensors``)
with a ``tokenizer.json`` beside them, which is how small towers of one's own are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer, text_global_pool
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from clsclip.errors import TowersError
from clsclip.vit import block

_PROBES = (
    "a photo of a cat",
    "A Wooden  Chair",
    "the quick brown fox jumps over 13 lazy dogs",
    "it's 12 o'clock!",
    "déjà vu, Ångström, ξύλο, 犬, 🐕",
    "abcdefghijklmnopqrstuvwxyz 0123456789 ~!@#$%^*()_+-=[]|;:,./?",
    " ".join(["counterintuitiveness"] * 60),
)
"""Texts whose tokens tell a tokenizer: another vocabulary, case, or length gives others."""


@dataclass(frozen=True)
class ImageSpec:
    """How a picture becomes ``pixel_values``.

    Attributes:
        size: pixels a side.
        mean, std: of each channel of [0, 1] RGB.
        interpolation: filter that resizes.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"


@dataclass(frozen=True)
class Identity:
    """What towers are.

    Attributes:
        settings: see :meth:`Towers.settings`.
        weights: see :meth:`Towers.weights_digest`.
    """

    settings: Mapping[str, Any]
    weights: str

    @property
    def fingerprint(self) -> str:
        """sha256 over both."""
        text = json.dumps({**self.settings, "weights": self.weights}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Towers(nn.Module):
    """Both towers of a CLIP.

    Args:
        clip: an ``open_clip`` model.
        tokenizer: its tokenizer; start and end tokens are added by its own post-processor.
        image: preprocessing; its size may differ from the one the towers were trained at (position embeddings are
            resampled) but must be a multiple of the patch.
        name: for messages and manifests.
        notes: what was assumed about them, for people.

    Raises:
        TowersError: the image tower is not a plain ViT with [CLS], or the size is not a multiple of the patch.
    """

    def __init__(
        self, clip: nn.Module, tokenizer: Tokenizer, image: ImageSpec, name: str, notes: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.name, self.notes = name, tuple(notes)
        self.tokenizer = tokenizer
        self.visual = plain_vit(clip, name)
        self.text = TextTower(text_module(clip, name))
        self.logit_scale = cast(nn.Parameter, clip.logit_scale)
        self.pool_type, self.end_token = text_pooling(clip)
        self.image = image
        self.origin = ""
        """The open_clip model or the folder that they were loaded by; empty where they were made."""
        self._native_positions: Tensor | None = None
        self.resize(image.size)

    @property
    def layers(self) -> int:
        """N, the number of layers of the image tower."""
        return len(self.visual.transformer.resblocks)

    @property
    def width(self) -> int:
        """d, the width of the image tower."""
        return int(self.visual.class_embedding.shape[0])

    @property
    def text_width(self) -> int:
        """d_text, the width of the text token."""
        return int(self.text.ln_final.normalized_shape[0])

    @property
    def feature_width(self) -> int:
        """Width of CLIP's joint image and text space."""
        return int(self.visual.proj.shape[1])

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.visual.patch_size[0])

    @property
    def grid(self) -> int:
        """Patches a side; m = grid * grid."""
        return self.image.size // self.patch

    @property
    def context_length(self) -> int:
        """Tokens a text may have, start and end included."""
        return int(self.text.positional_embedding.shape[0])

    def resize(self, size: int) -> None:
        """Take pictures of ``size`` pixels from now on: resample the position embeddings (bicubic, antialiased)."""
        if size < self.patch or size % self.patch:
            raise TowersError(f"Image size {size} is not a multiple of the patch of {self.name}: {self.patch} px.")
        table = self.visual.positional_embedding
        if self._native_positions is not None and not table.requires_grad:
            table = self._native_positions  # not from what an earlier resampling left
        old, new = native_grid(table), size // self.patch
        if new != native_grid(self.visual.positional_embedding):
            if self._native_positions is None:
                self._native_positions = table.detach().clone()
            resampled = table.detach()
            if new != old:
                patches = resampled[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
                patches = interpolate(patches, size=(new, new), mode="bicubic", antialias=True, align_corners=False)
                patches = patches.permute(0, 2, 3, 1).reshape(new * new, -1)
                resampled = torch.cat([resampled[:1], patches])
            learns = self.visual.positional_embedding.requires_grad
            self.visual.positional_embedding = nn.Parameter(resampled.clone(), requires_grad=learns)
        self.image = replace(self.image, size=size)

    def embed(self, pixel_values: Tensor) -> Tensor:
        """Patch embedding: (C, 3, S, S) normalised pixels -> (C, 1 + m, d), [CLS] first."""
        patches = self.visual.conv1(pixel_values).flatten(2).transpose(1, 2)
        cls = self.visual.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        tokens = torch.cat([cls, patches], dim=1) + self.visual.positional_embedding.to(patches.dtype)
        return cast(Tensor, self.visual.ln_pre(tokens))

    def run_layers(self, tokens: Tensor, first: int, last: int) -> Tensor:
        """Image layers ``first`` to ``last - 1`` on (C, 1 + m, d) tokens."""
        for layer in self.visual.transformer.resblocks[first:last]:
            tokens = block(layer, tokens)
        return tokens

    def features(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's joint-space features of the last layer's tokens of the unmodified path.

        Args:
            tokens: (C, 1 + m, d).

        Returns:
            image features (C, f) from [CLS], and patch features (C, m, f); both of unit norm.
        """
        projected = normalize(self.visual.ln_post(tokens) @ self.visual.proj, dim=-1)
        return projected[:, 0], projected[:, 1:]

    def text_tokens(self, token_ids: Tensor) -> Tensor:
        """T of section 3: the text transformer's output at the end token, normalised, before the projection.

        Args:
            token_ids: (K, L) int64.

        Returns:
            (K, d_text).
        """
        length = token_ids.shape[1]
        tokens = self.text.token_embedding(token_ids) + self.text.positional_embedding[:length]
        mask = self.text.attn_mask
        mask = None if mask is None else mask[:length, :length]
        for layer in self.text.transformer.resblocks:
            tokens = block(layer, tokens, mask)
        tokens = self.text.ln_final(tokens)
        return text_global_pool(tokens, token_ids, self.pool_type, eos_token_id=self.end_token)

    def text_features(self, text_tokens: Tensor) -> Tensor:
        """CLIP's joint-space features of texts: (K, d_text) -> (K, f), unit norm."""
        return normalize(self.project_text(text_tokens), dim=-1)

    def project_text(self, text_tokens: Tensor) -> Tensor:
        """Text tokens in the joint space, of any length: (K, d_text) -> (K, f)."""
        projection = self.text.text_projection
        return cast(Tensor, projection(text_tokens)) if isinstance(projection, nn.Linear) else text_tokens @ projection

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (K, L) int64 token ids, cut and padded with 0 to the context length."""
        self.tokenizer.enable_truncation(self.context_length)
        self.tokenizer.enable_padding(length=self.context_length, pad_id=0)
        encoded = self.tokenizer.encode_batch(list(texts))
        return torch.tensor([text.ids for text in encoded], dtype=torch.int64)

    def native_state(self) -> dict[str, Tensor]:
        """Every weight, the position embeddings as they were before any resampling."""
        state: dict[str, Tensor] = dict(self.state_dict())
        if self._native_positions is not None:
            state["visual.positional_embedding"] = self._native_positions
        return state

    def fingerprint(self) -> str:
        """sha256 over all that their results hang on: weights and settings. Checkpoints name their towers by it."""
        return self.identity().fingerprint

    def identity(self) -> Identity:
        """What they are. It takes a while: all weights are hashed."""
        return Identity(self.settings(), self.weights_digest())

    def settings(self) -> dict[str, Any]:
        """What results hang on besides the weights, as JSON."""
        towers: dict[str, Any] = {"image": self.visual, "text": self.text}
        blocks = {which: tower.transformer.resblocks for which, tower in towers.items()}
        table = self._native_positions if self._is_resampled() else self.visual.positional_embedding
        mask = self.text.attn_mask
        return {
            "image_size": self.image.size,
            "native_grid": native_grid(cast(Tensor, table)),
            "mean": list(self.image.mean),
            "std": list(self.image.std),
            "interpolation": self.image.interpolation,
            "activation": {which: joined_names(activation_of(one) for one in found) for which, found in blocks.items()},
            "heads": {which: int(found[0].attn.num_heads) for which, found in blocks.items()},
            "norm_eps": {which: epsilons(tower) for which, tower in towers.items()},
            "context_length": self.context_length,
            "end_token": self.end_token if self.pool_type == "eos" else self.text.token_embedding.num_embeddings - 1,
            "pooling": "last" if self.pool_type == "last" else "first" if self.pool_type == "first" else "end_token",
            "causal": mask is not None and bool((mask != 0).any()),
            "tokens": hashlib.sha256(self.tokenize(_PROBES).numpy().tobytes()).hexdigest(),
        }

    def weights_digest(self) -> str:
        """sha256 over names, shapes and float32 bytes of every weight.

        Position embeddings count as they were before any resampling, with the picture size they are resampled to:
        another machine's interpolation may differ in its last bits. (Of towers in training, as they are.)
        """
        resampled = self._is_resampled()
        digest = hashlib.sha256()
        for name, weight in sorted(self.state_dict().items()):
            digest.update(f"{name}{tuple(weight.shape)}".encode())
            if resampled and name == "visual.positional_embedding":
                weight = cast(Tensor, self._native_positions)
            digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _is_resampled(self) -> bool:
        return self._native_positions is not None and not self.visual.positional_embedding.requires_grad


def native_grid(table: Tensor) -> int:
    """Patches a side of a table of position embeddings (1 + g * g, d)."""
    return round((table.shape[0] - 1) ** 0.5)


def activation_of(layer: Any) -> str:
    """The activation of a block's MLP: ``gelu``, ``quick_gelu``, or another's own name."""
    module = layer.mlp.gelu
    if isinstance(module, QuickGELU):
        return "quick_gelu"
    if isinstance(module, nn.GELU):
        return "gelu" if module.approximate == "none" else f"gelu_{module.approximate}"
    return type(module).__name__.lower()


def joined_names(names: Iterable[str]) -> str:
    """Different names, joined by plus signs; towers have one."""
    return "+".join(sorted(set(names)))


def epsilons(tower: nn.Module) -> list[float]:
    """What a tower's normalizations add to their variances; towers have one number."""
    return sorted({module.eps for module in tower.modules() if isinstance(module, nn.LayerNorm)})


class TextTower(nn.Module):
    """The parts of a text transformer, under one set of names wherever open_clip keeps them."""

    token_embedding: nn.Embedding
    positional_embedding: Tensor
    transformer: Any
    ln_final: nn.LayerNorm
    text_projection: nn.Linear | nn.Parameter
    attn_mask: Tensor | None

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.token_embedding = source.token_embedding
        self.positional_embedding = source.positional_embedding
        self.transformer = source.transformer
        self.ln_final = source.ln_final
        self.text_projection = source.text_projection
        self.register_buffer("attn_mask", source.attn_mask, persistent=False)


def plain_vit(clip: nn.Module, name: str) -> VisionTransformer:
    """The image tower, if it is a plain ViT pooled by its [CLS] token.

    Raises:
        TowersError: it is another kind; the message says which.
    """
    visual = clip.visual
    if not isinstance(visual, VisionTransformer):
        raise TowersError(f"{name} has a {type(visual).__name__} image tower; ClsCLIP needs a plain ViT with [CLS].")
    if visual.attn_pool is not None or visual.pool_type != "tok":
        raise TowersError(f"{name} does not pool its image by [CLS]; ClsCLIP replaces [CLS], so it cannot use it.")
    if not all(type(layer) is ResidualAttentionBlock for layer in visual.transformer.resblocks):
        raise TowersError(f"{name} has modified attention blocks; ClsCLIP needs plain ones.")
    if visual.patch_size[0] != visual.patch_size[1] or visual.grid_size[0] != visual.grid_size[1]:
        raise TowersError(f"{name} has patches or pictures that are not square.")
    return visual


def text_module(clip: Any, name: str) -> Any:
    """The module that holds the text transformer: open_clip keeps it inside ``clip.text`` or in the model itself."""
    text = getattr(clip, "text", clip)
    blocks = getattr(getattr(text, "transformer", None), "resblocks", [])
    if not len(blocks) or not all(type(layer) is ResidualAttentionBlock for layer in blocks):
        raise TowersError(f"{name} has a {type(text).__name__} text tower; ClsCLIP needs open_clip's own transformer.")
    if getattr(text, "cls_emb", None) is not None or getattr(text, "use_pad_mask", False):
        raise TowersError(f"{name} pools its text by a class embedding; ClsCLIP needs the end token's output.")
    if text.text_projection is None:
        raise TowersError(f"{name} has no text projection.")
    return text


def text_pooling(clip: Any) -> tuple[str, int | None]:
    """How the text tower finds its end token: open_clip's pooling name, and the token's id."""
    text = getattr(clip, "text", None)
    if text is not None:
        return str(text.pool_type), int(text.eos_id)
    return str(clip.text_pool_type), int(clip.text_eos_id)
