"""CLIPSeg of transformers with random weights that look like trained ones, in folders as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TINY: dict[str, Any] = {
    "vision_config": {
        **{"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3},
        **{"image_size": 32, "patch_size": 8},
    },
    "text_config": {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        "max_position_embeddings": 24,
    },
    **{"projection_dim": 24, "extract_layers": [0, 1, 2], "reduce_dim": 16, "decoder_intermediate_size": 64},
}


def reference(**changed: Any) -> Any:
    """A ``CLIPSegForImageSegmentation`` in evaluation mode.

    Its own random weights make logits of hundredths and texts that hardly differ. Here every product keeps the scale
    of what goes in, words differ, and logits spread around zero by a few units, as in trained weights.
    """
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    torch.manual_seed(0)
    model = CLIPSegForImageSegmentation(CLIPSegConfig(**changed)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("token_embedding.weight"):
                value.normal_(std=1.0)
            elif "transposed_convolution" in name and value.ndim == 4:
                value.normal_(std=value.shape[0] ** -0.5)
            elif value.ndim == 2 and "embed" not in name:
                value.normal_(std=value.shape[1] ** -0.5)
            elif name.endswith("bias"):
                value.normal_(std=0.1)
    return model


def save(model: Any, folder: Path, size: int = 48, **processor: Any) -> Path:
    """Write a folder as the hub has it: configuration, weights, processor, model card."""
    model.save_pretrained(folder)
    settings = {"size": {"height": size, "width": size}, "resample": 2, "image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | processor), "utf-8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- vision\n---\n\n# A model\n", "utf-8")
    return folder


def logits_of(model: Any, pixel_values: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """(C, 3, S, S), (K, L) -> (C, K, h, w) of transformers, one word a call as documented."""
    made = []
    with torch.no_grad():
        for row in ids:
            repeated = row.repeat(len(pixel_values), 1)
            made.append(model(pixel_values=pixel_values, input_ids=repeated).logits)
    return torch.stack(made, dim=1)
