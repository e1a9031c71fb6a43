"""ClsCLIP: the text token replaces [CLS] in a few shallow layers of a frozen CLIP; a small decoder draws the mask.

T       = text transformer's [EOT] output after its final LayerNorm                            (K, d_text)
layers 0 .. N1-1      [I, E] <- Layer_i([I, E])              the stem: the same for every class
layers in NAV         [I, E] <- Layer_i([L_i(T), E])         L_i: one linear map a layer, d_text -> d
other later layers    [I, E] <- Layer_i([I, E])
O       = Decoder(E_N)                                       mask logits

Other uses of the text and learned visual prompts (:mod:`clsclip.variants`) stand behind the same interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from clsclip.base import WordSegmenter
from clsclip.detail import CHANNELS, STRIDES, CosineResidual, Detail
from clsclip.errors import CheckpointError
from clsclip.towers import Towers
from clsclip.uses import USES_OF_TEXT
from clsclip.variants import VisualPrompts, text_modulation
from clsclip.vit import block

EXTRA_INPUTS = ("text_token", "similarity", "stem", "residual", "detail")


@dataclass(frozen=True)
class ModelConfig:
    """What a ClsCLIP is made of, besides its towers.

    Attributes:
        navigation_layers: NAV, indices of the image layers whose [CLS] the text token replaces; always () where
            ``use_of_text`` is another than ``"replace"``.
        decoder_layers: K, transformer layers of the decoder.
        decoder_heads: attention heads of each.
        upscale: mask logits a side of one patch.
        decoder_inputs: what the decoder sees besides the patch tokens. Empty is the paper's exact form;
            ``"text_token"`` adds the text token as one more token, ``"similarity"`` the cosine of CLIP's own patch
            features (unmodified path) with the word's text feature, ``"stem"`` a linear map of the stem's patch
            tokens, where edges are still sharp; ``"residual"`` adds that cosine to the logits, so that the decoder has
            only to correct it; ``"detail"`` a few convolutions on the pixels, see :mod:`clsclip.detail`.
        use_of_text: one of :data:`clsclip.uses.USES_OF_TEXT`. All but ``"replace"`` leave the encoder unmodified,
            so that the stem is the whole encoder and runs once a crop.
        visual_prompts: learned tokens in the input of the image tower; 0 is the paper's form.
    """

    navigation_layers: tuple[int, ...] = (2, 3, 4)
    decoder_layers: int = 2
    decoder_heads: int = 3
    upscale: int = 4
    decoder_inputs: tuple[str, ...] = ()
    use_of_text: str = "replace"
    visual_prompts: int = 0

    def __post_init__(self) -> None:
        if self.use_of_text != "replace":  # nothing is navigated: equal models get equal configurations
            object.__setattr__(self, "navigation_layers", ())

    @property
    def variant(self) -> str:
        """``"exact"``, or all that differs from it joined by plus signs: ``"film+prompts50+similarity"``."""
        use = () if self.use_of_text == "replace" else (self.use_of_text,)
        prompts = (f"prompts{self.visual_prompts}",) if self.visual_prompts else ()
        return "+".join((*use, *prompts, *self.decoder_inputs)) or "exact"


class Decoder(nn.Module):
    """K transformer layers over the patch tokens, then ``upscale`` x ``upscale`` logits a patch."""

    def __init__(self, config: ModelConfig, towers: Towers) -> None:
        super().__init__()
        width = towers.width
        self.upscale = config.upscale
        self.ln_in = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            ResidualAttentionBlock(width, config.decoder_heads) for _ in range(config.decoder_layers)
        )
        self.ln_out = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.upscale**2)
        self.text = nn.Linear(towers.text_width, width) if "text_token" in config.decoder_inputs else None
        self.similarity = nn.Linear(1, width) if "similarity" in config.decoder_inputs else None
        with_stem = "stem" in config.decoder_inputs
        self.stem = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) if with_stem else None
        self.modulation = text_modulation(config.use_of_text, towers.text_width, width)
        self.residual = CosineResidual(towers.grid, config.upscale) if "residual" in config.decoder_inputs else None
        self.detail = nn.Linear(width, config.upscale**2 * CHANNELS) if "detail" in config.decoder_inputs else None
        if self.detail is not None:  # it starts with little effect: a trained decoder that gets it goes on where it was
            nn.init.normal_(self.detail.weight, std=1e-3)
            nn.init.zeros_(self.detail.bias)

    def forward(
        self,
        patches: Tensor,
        text_tokens: Tensor,
        similarity: Tensor | None,
        stem: Tensor | None = None,
        detail: Tensor | None = None,
    ) -> Tensor:
        """Mask logits.

        Args:
            patches: (P, m, d) patch tokens after the last layer.
            text_tokens: (P, d_text).
            similarity: (P, m) cosines, only when the model uses them.
            stem: (P, m, d) patch tokens of the stem through ``self.stem``, only when the model uses them.
            detail: (P, h, w, c) features of the pixels, only when the model uses them.

        Returns:
            (P, h, w) with h = w = upscale * grid.
        """
        count = patches.shape[1]
        grid = round(count**0.5)
        tokens = self.ln_in(patches)
        if self.modulation is not None:
            tokens = self.modulation(tokens, text_tokens)
        if stem is not None:
            tokens = tokens + stem
        if self.similarity is not None and similarity is not None:
            tokens = tokens + self.similarity(10 * similarity.unsqueeze(-1))
        if self.text is not None:
            tokens = torch.cat([tokens, self.text(text_tokens).unsqueeze(1)], dim=1)
        for layer in self.layers:
            tokens = block(layer, tokens)
        tokens = self.ln_out(tokens[:, :count])
        logits = self.shuffled(self.head(tokens), grid).squeeze(-1)
        if self.detail is not None and detail is not None:
            logits = logits + (self.shuffled(self.detail(tokens), grid) * detail).sum(dim=-1)
        if self.residual is not None and similarity is not None:
            logits = logits + self.residual(similarity)
        return logits

    def shuffled(self, values: Tensor, grid: int) -> Tensor:
        """What patches say of their cells, (P, m, upscale**2 * c), side by side: (P, h, w, c)."""
        pairs, side = values.shape[0], grid * self.upscale
        cells = values.reshape(pairs, grid, grid, self.upscale, -1)
        return cells.permute(0, 1, 3, 2, 4).reshape(pairs, side, side, values.shape[-1] // self.upscale**2)


class Presence(nn.Module):
    """Is the word in the picture? A logistic of two CLIP evidences: the image embedding's and the best patches'."""

    SHARPNESS = 20.0

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([50.0, 0.0]))
        self.bias = nn.Parameter(torch.tensor(-12.0))

    def evidence(self, image_features: Tensor, patch_features: Tensor, text_features: Tensor) -> Tensor:
        """(C, f), (C, m, f), (K, f), all of unit norm -> (C, K, 2): image cosine, soft maximum of patch cosines."""
        image = image_features @ text_features.T
        patches = patch_features @ text_features.T
        peak = torch.logsumexp(self.SHARPNESS * patches, dim=1) / self.SHARPNESS
        return torch.stack([image, peak], dim=-1)

    def forward(self, image_features: Tensor, patch_features: Tensor, text_features: Tensor) -> Tensor:
        """Presence (C, K) in [0, 1]; arguments as in :meth:`evidence`."""
        evidence = self.evidence(image_features, patch_features, text_features)
        return torch.sigmoid((evidence * self.weight).sum(dim=-1) + self.bias)


class ClsClip(WordSegmenter):
    """The segmenter of section 3.2 on frozen towers.

    Args:
        towers: frozen here; only the linear maps, the prompts, the decoder and the presence head learn.
        config: see :class:`ModelConfig`.

    Raises:
        CheckpointError: navigation layers outside the tower, none at all, or an unknown decoder input or use of text.
    """

    def __init__(self, towers: Towers, config: ModelConfig) -> None:
        super().__init__()
        check_config(towers, config)
        self.config = config
        self.towers = towers.requires_grad_(False)
        self.maps = nn.ModuleDict(
            {str(layer): nn.Linear(towers.text_width, towers.width) for layer in sorted(config.navigation_layers)}
        )
        prompts = config.visual_prompts
        self.prompts = VisualPrompts(prompts, towers.width, towers.patch) if prompts else None
        self.decoder = Decoder(config, towers)
        self.detail = Detail(towers.patch // config.upscale) if "detail" in config.decoder_inputs else None
        self.presence = Presence()

    @property
    def stem_layers(self) -> int:
        """N1, the index of the first navigation layer; N where no layer is navigated."""
        return min(self.config.navigation_layers, default=self.towers.layers)

    def learned_state(self) -> dict[str, Tensor]:
        """Every weight that training changes: all but the towers'."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("towers.")}

    def stem(self, pixel_values: Tensor) -> Tensor:
        """(C, 3, S, S) -> stem tokens (C, 1 + v + m, d) with v visual prompts, the same for every class."""
        tokens = self.towers.embed(pixel_values)
        if self.prompts is not None:
            tokens = self.prompts(tokens)
        return self.towers.run_layers(tokens, 0, self.stem_layers)

    def unmodified(self, pixel_values: Tensor, stem: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's own path: no word and no prompt takes part.

        Args:
            pixel_values: (C, 3, S, S).
            stem: their stem tokens, gone on from where they are CLIP's own.

        Returns:
            image features (C, f) and patch features (C, m, f).
        """
        if self.prompts is not None:
            return self.towers.features(self.towers.run_layers(self.towers.embed(pixel_values), 0, self.towers.layers))
        return self.towers.features(self.towers.run_layers(stem, self.stem_layers, self.towers.layers))

    @property
    def reads_patches(self) -> bool:
        """Whether masks need the patch features of CLIP's unmodified path."""
        return not {"similarity", "residual"}.isdisjoint(self.config.decoder_inputs)

    def encode_image(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """All that a crop needs once, whatever the words.

        Args:
            pixel_values: (C, 3, S, S).

        Returns:
            stem tokens (C, 1 + v + m, d); image features (C, f) and patch features (C, m, f) of CLIP's unmodified path;
            and with the decoder input ``detail`` features of the pixels (C, h, w, c).
        """
        stem = self.stem(pixel_values)
        return stem, *self.unmodified(pixel_values, stem), *self.details(pixel_values)

    def details(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """(C, 3, S, S) -> features of the pixels (C, h, w, c), where the decoder reads them, else nothing."""
        return () if self.detail is None else (self.detail(pixel_values),)

    def trunk(
        self,
        stem: Tensor,
        patch_features: Tensor,
        text_tokens: Tensor,
        crop_index: Tensor,
        class_index: Tensor,
        detail: Tensor | None = None,
    ) -> Tensor:
        """Masks of P (crop, class) pairs.

        Args:
            stem: (C, 1 + v + m, d).
            patch_features: (C, m, f); read only where :attr:`reads_patches`.
            text_tokens: (K, d_text).
            crop_index: (P) int64.
            class_index: (P) int64.
            detail: (C, h, w, c), with the decoder input of that name.

        Returns:
            mask logits (P, h, w).
        """
        # index_select and not []: its backward pass (prompts) adds in a fixed order, so that runs can be repeated.
        tokens, words = stem.index_select(0, crop_index), text_tokens.index_select(0, class_index)
        tokens = self.navigate(tokens, words, self.stem_layers)
        return self.draw(tokens, stem, patch_features, text_tokens, crop_index, class_index, detail)

    def navigate(self, tokens: Tensor, words: Tensor, first: int) -> Tensor:
        """Layers ``first`` to N - 1 on (P, 1 + v + m, d) tokens of pairs with the text tokens (P, d_text)."""
        for layer in range(first, self.towers.layers):
            if str(layer) in self.maps:
                tokens = torch.cat([self.maps[str(layer)](words).unsqueeze(1), tokens[:, 1:]], dim=1)
            tokens = self.towers.run_layers(tokens, layer, layer + 1)
        return tokens

    def draw(
        self,
        tokens: Tensor,
        stem: Tensor,
        patch_features: Tensor,
        text_tokens: Tensor,
        crop_index: Tensor,
        class_index: Tensor,
        detail: Tensor | None = None,
    ) -> Tensor:
        """The decoder on the last layer's tokens (P, 1 + v + m, d) of pairs; the rest as in :meth:`trunk`."""
        first_patch = 1 + self.config.visual_prompts
        similarity, stem_patches = None, None
        if self.decoder.stem is not None:  # once a crop: no word takes part
            stem_patches = self.decoder.stem(stem[:, first_patch:]).index_select(0, crop_index)
        if self.reads_patches:
            features = self.towers.text_features(text_tokens).index_select(0, class_index)
            similarity = (patch_features.index_select(0, crop_index) * features.unsqueeze(1)).sum(dim=-1)
        words = text_tokens.index_select(0, class_index)
        details = None if detail is None else detail.index_select(0, crop_index)
        mask_logits: Tensor = self.decoder(tokens[:, first_patch:], words, similarity, stem_patches, details)
        return mask_logits

    def forward(self, pixel_values: Tensor, text_tokens: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        """The segmenter graph: (C, 3, S, S), (K, d_text), (P), (P) -> mask logits (P, h, w)."""
        pairs = text_tokens, crop_index, class_index
        return self.trunk(*self.stem_and_patches(pixel_values), *pairs, *self.details(pixel_values))

    def stem_and_patches(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Stem tokens, and the patch features where the trunk reads them; the exact form skips the unmodified path."""
        stem = self.stem(pixel_values)
        return stem, self.unmodified(pixel_values, stem)[1] if self.reads_patches else stem

    def encode_words(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prompted words -> text tokens (K, d_text) and text features (K, f)."""
        return self.encode_text(self.towers.tokenize(texts).to(self.towers.logit_scale.device))

    def encode_text(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (K, L) int64 -> text tokens (K, d_text) and text features (K, f)."""
        tokens = self.towers.text_tokens(token_ids)
        return tokens, self.towers.text_features(tokens)


def check_config(towers: Towers, config: ModelConfig) -> None:
    """Refuse a configuration that these towers cannot carry; see :class:`ClsClip`."""
    if config.use_of_text not in USES_OF_TEXT:
        raise CheckpointError(f"Unknown use of text {config.use_of_text!r}; known: {', '.join(USES_OF_TEXT)}.")
    layers = config.navigation_layers
    navigated = config.use_of_text == "replace"
    if navigated and (not layers or len(set(layers)) != len(layers) or not all(0 <= n < towers.layers for n in layers)):
        raise CheckpointError(
            f"Navigation layers {list(layers)} must be different indices "
            f"between 0 and {towers.layers - 1}, at least one."
        )
    if config.visual_prompts < 0:
        raise CheckpointError(f"{config.visual_prompts} visual prompts: give 0 for none, or a positive number.")
    if "stem" in config.decoder_inputs and not navigated:
        raise CheckpointError(
            f'The decoder input "stem" needs use of text "replace": with {config.use_of_text!r} the stem is the whole '
            "encoder, and the decoder has its tokens already."
        )
    unknown = set(config.decoder_inputs) - set(EXTRA_INPUTS)
    if unknown:
        raise CheckpointError(f"Unknown decoder inputs {sorted(unknown)}; known: {', '.join(EXTRA_INPUTS)}.")
    if "detail" in config.decoder_inputs and towers.patch not in [config.upscale * stride for stride in STRIDES]:
        raise CheckpointError(
            f'The decoder input "detail" needs a cell of the mask logits in 1, 2 or 4 pixels a side, and patches of '
            f"{towers.patch} pixels with upscale {config.upscale} give none. Choose another upscale."
        )
    if towers.width % config.decoder_heads:
        raise CheckpointError(f"{config.decoder_heads} decoder heads do not divide the width {towers.width}.")
