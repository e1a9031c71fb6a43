"""Every graph that this project's exporters write: all variants of the model, in every precision."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import open_clip
import torch

from clsclip.base import WordSegmenter
from clsclip.clipseg_files import load_clipseg
from clsclip.model import ClsClip, ModelConfig
from clsclip.towers import ImageSpec, Towers
from clsclip.training_free import METHODS, TrainingFree
from clsclip_export.bundle import shipped
from clsclip_export.graphs import export_graphs
from clsclip_export.int8 import quantized
from clsclip_export.precision import PRECISIONS
from clsclip_export.verify import ALWAYS_FP32
from tests import clipseg
from tests.tiny import tiny_config, tiny_model, tiny_towers

VARIANTS: dict[str, dict[str, object]] = {
    "exact": {},
    "wide": {"decoder_inputs": ("text_token", "similarity", "stem")},
    "stem": {"decoder_inputs": ("stem",)},
    "residual": {"decoder_inputs": ("similarity", "residual", "detail")},
    "detail": {"decoder_inputs": ("detail",)},
    "detail of every pixel": {"decoder_inputs": ("detail",), "upscale": 8},
    "detail of four pixels": {"decoder_inputs": ("detail",), "upscale": 2},
    "prompts": {"visual_prompts": 3},
    "first": {"navigation_layers": (0, 1, 2)},
    "spread": {"navigation_layers": (1, 3, 5), "upscale": 2},
    "film": {"use_of_text": "film"},
    "channel": {"use_of_text": "channel"},
    "spatial": {"use_of_text": "spatial"},
}

CLIP: dict[str, dict[str, object]] = {"openai": {"quick_gelu": True}, "open_clip": {}}
"""Towers as published weights have them: the last token is the one of the highest number."""


CLIPSEG: dict[str, dict[str, Any]] = {
    "simple": {},
    "complex": {"use_complex_transposed_convolution": True},
    "one layer": {"extract_layers": [3], "conditional_layer": 0},
    **{
        activation: {
            part: {**clipseg.TINY[part], "hidden_act": activation} for part in ("vision_config", "text_config")
        }
        for activation in ("gelu", "gelu_new", "relu", "silu")
    },
    "highest token": {"text_config": {**clipseg.TINY["text_config"], "eos_token_id": 2}},
}
"""Configurations of transformers whose graphs differ."""


def models() -> Iterator[tuple[str, WordSegmenter]]:
    """Every kind of model, small."""
    for name, config in VARIANTS.items():
        yield name, tiny_model(**config)
    for name, options in CLIP.items():
        config = tiny_config()
        text = {**config["text_cfg"], "pool_type": "argmax"}  # type: ignore[dict-item]
        text.pop("eos_id", None)
        torch.manual_seed(0)
        clip = open_clip.CLIP(**{**config, "text_cfg": text, **options})
        spec = ImageSpec(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        towers = Towers(clip, tiny_towers().tokenizer, spec, name).requires_grad_(False).eval()
        yield name, ClsClip(towers, ModelConfig()).eval()
    for name, changed in CLIPSEG.items():
        with tempfile.TemporaryDirectory() as folder:
            weights = clipseg.save(clipseg.reference(**{**clipseg.TINY, **changed}), Path(folder))
            yield f"CLIPSeg, {name}", load_clipseg(str(weights))[0]
    for method in METHODS:
        yield method, TrainingFree(tiny_towers(), method, ("sky", "wall"), ("a {}",)).eval()


def exports() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Every graph, with what it is of."""
    for name, model in models():
        for file, one in export_graphs(model).graphs.items():
            for precision in PRECISIONS:
                if precision == "fp32" or file not in ALWAYS_FP32:
                    yield f"{name}, {precision}: {file}", shipped(one, precision)
            if file not in ALWAYS_FP32 and file != "segmenter.onnx":  # it is the others in one
                feeds = {key: value.numpy() for key, value in one.graph.inputs.items()}
                read = {value.name for value in one.proto.graph.input}
                feed = {key: value for key, value in feeds.items() if key in read}
                yield f"{name}, int8: {file}", quantized(one.proto, [feed])
