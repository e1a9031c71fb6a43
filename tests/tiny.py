"""Tiny models and stickers that tests are made of; nothing is downloaded."""

from __future__ import annotations

import colorsys
from pathlib import Path

import open_clip
import torch
from PIL import Image, ImageDraw

from clsclip.model import ClsClip, ModelConfig
from clsclip.reproduce.stickers.captions import train_tokenizer
from clsclip.reproduce.stickers.sheets import STYLES, emoji_file_stems
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip.towers import ImageSpec, Towers

VISION = {"image_size": 32, "patch_size": 8, "width": 48, "head_width": 16, "layers": 6}
TEXT = {"context_length": 24, "width": 32, "heads": 2, "layers": 2, "pool_type": "eos", "eos_id": 2}


def tiny_config() -> dict[str, object]:
    return {
        "embed_dim": 24,
        "vision_cfg": VISION,
        "text_cfg": TEXT | {"vocab_size": train_tokenizer().get_vocab_size()},
    }


def tiny_towers(seed: int = 0) -> Towers:
    torch.manual_seed(seed)
    clip = open_clip.CLIP(**tiny_config())
    spec = ImageSpec(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Towers(clip, train_tokenizer(), spec, "tiny").requires_grad_(False).eval()


def tiny_model(seed: int = 0, **config: object) -> ClsClip:
    towers = tiny_towers(seed)
    torch.manual_seed(seed + 1)
    return ClsClip(towers, ModelConfig(**config)).eval()  # type: ignore[arg-type]


def draw_stickers(root: Path, style: str = "noto") -> Path:
    """One plain coloured shape an emoji, in the layout of the style's npm package."""
    folder = root / STYLES[style].package / STYLES[style].folder
    folder.mkdir(parents=True)
    for noun in nouns():
        colour = tuple(int(255 * part) for part in colorsys.hsv_to_rgb(noun.index / len(nouns()), 1, 1))
        image = Image.new("RGBA", (24, 24))
        draw = ImageDraw.Draw(image)
        (draw.ellipse if noun.index % 2 else draw.rectangle)((2, 2, 21, 21), fill=(*colour, 255))
        for emoji in noun.emoji:
            image.save(folder / (emoji_file_stems(emoji)[0] + STYLES[style].suffix))
    return root
