"""What the exact savings of the trunk are worth: ViT-B/16 size, random weights, ONNX Runtime.

    python benchmarks/presence/savings.py [--pairs 20] [--rounds 5] [--layers 4] [--report FILE]

Every form of the trunk computes the same masks (the largest difference is printed). They run in turns, so that other
work on the machine meets all of them alike; milliseconds are of the processor, all threads. Only the first ``--layers``
image layers after the stem are kept, because a saving touches one or two of them: its share of the whole trunk follows
from the milliseconds of a plain layer, which are measured too. Predictions are of multiplications alone.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from clsclip.model import ClsClip, ModelConfig
from clsclip.tower_files import load_towers
from clsclip.vit import after_attention, heads_of, joined
from clsclip_export.architectures.base import Graph
from clsclip_export.architectures.sharing import first_navigated
from clsclip_export.graphs import export_graph

INPUTS = ("stem_tokens", "text_tokens", "crop_index", "class_index")
TRUNK_LAYERS = 12
"""Of a pair: ten image layers and two of the decoder."""


class Part(nn.Module):
    """The first layers of a trunk in one form.

    Args:
        model: has them.
        layers: how many.
        first: the first navigation layer: ``plain``, ``qkv`` (shared projections), or ``attention`` (all shared).
        drop_cls: leave out the query of [CLS] where its output is not read.
    """

    def __init__(self, model: ClsClip, layers: int, first: str, *, drop_cls: bool = False) -> None:
        super().__init__()
        self.blocks = model.towers.visual.transformer.resblocks[model.stem_layers : model.stem_layers + layers]
        self.maps, self.begin, self.first, self.drop_cls = model.maps, model.stem_layers, first, drop_cls

    def forward(self, stem_tokens: Tensor, text_tokens: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        tokens, words = stem_tokens.index_select(0, crop_index), text_tokens.index_select(0, class_index)
        patches = tokens[:, 1:]
        for at, layer in enumerate(self.blocks):
            name = str(self.begin + at)
            word = self.maps[name](words).unsqueeze(1) if name in self.maps else tokens[:, :1]
            if at == 0 and self.first == "qkv":
                tokens = shared_projections(layer, stem_tokens[:, 1:], word, crop_index)
            elif at == 0 and self.first == "attention":
                all_words = self.maps[name](text_tokens).unsqueeze(1)
                tokens = first_navigated(layer, stem_tokens[:, 1:], all_words, crop_index, class_index)
            else:
                read = str(self.begin + at + 1) not in self.maps and at + 1 < len(self.blocks)
                tokens = run(layer, torch.cat([word, patches], dim=1), keep_cls=read or not self.drop_cls)
            patches = tokens[:, -patches.shape[1] :]
        return patches


def run(layer: Any, tokens: Tensor, *, keep_cls: bool) -> Tensor:
    """A block; without [CLS] in its output where that is not read."""
    query, key, value = heads_of(layer.attn, layer.ln_1(tokens))
    if not keep_cls:
        query, tokens = query[:, :, 1:], tokens[:, 1:]
    mixed = torch.softmax(query @ key.transpose(-2, -1), dim=-1) @ value
    return after_attention(layer, tokens, joined(layer.attn, mixed))


def shared_projections(layer: Any, patches: Tensor, words: Tensor, crop_index: Tensor) -> Tensor:
    """The first navigation layer with the patches' queries, keys and values computed once a crop."""
    once = [one.index_select(0, crop_index) for one in heads_of(layer.attn, layer.ln_1(patches))]
    query, key, value = (
        torch.cat(pair, dim=2) for pair in zip(heads_of(layer.attn, layer.ln_1(words)), once, strict=True)
    )
    mixed = torch.softmax(query @ key.transpose(-2, -1), dim=-1) @ value
    tokens = torch.cat([words, patches.index_select(0, crop_index)], dim=1)
    return after_attention(layer, tokens, joined(layer.attn, mixed))


def predictions(tokens: int, width: int) -> dict[str, float]:
    """Multiplications left out, as a share of those of a trunk of ``TRUNK_LAYERS`` layers a pair."""
    layer = tokens * (12 * width**2 + 2 * tokens * width)
    qkv, attention = tokens * 3 * width**2, 2 * tokens**2 * width
    cls = 10 * width**2 + 2 * tokens * width
    trunk = TRUNK_LAYERS * layer
    shared = (qkv + attention) / trunk
    return {"plain": 0.0, "shared Q, K, V": qkv / trunk, "shared attention": shared, "unused [CLS]": 2 * cls / trunk}


@click.command()
@click.option("--pairs", default=20, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--layers", default=4, show_default=True)
@click.option("--report", "report_path", type=click.Path(path_type=Path))
def main(pairs: int, rounds: int, layers: int, report_path: Path | None) -> None:
    """Export every form, run them in turns, print a table."""
    torch.manual_seed(0)
    model = ClsClip(load_towers("ViT-B-16"), ModelConfig(decoder_heads=12)).eval()
    tokens, width = 1 + model.towers.grid**2, model.towers.width
    forms = {
        "plain": Part(model, layers, "plain"),
        "shared Q, K, V": Part(model, layers, "qkv"),
        "shared attention": Part(model, layers, "attention"),
        "unused [CLS]": Part(model, layers, "plain", drop_cls=True),
    }
    example = dict(
        zip(
            INPUTS,
            (
                torch.randn(2, tokens, width),
                torch.randn(3, model.towers.text_width),
                torch.arange(5) % 2,
                torch.arange(5) % 3,
            ),
            strict=True,
        )
    )
    feeds = {
        "stem_tokens": np.random.default_rng(0).normal(size=(1, tokens, width)).astype(np.float32),
        "text_tokens": np.random.default_rng(1).normal(size=(pairs, model.towers.text_width)).astype(np.float32),
        "crop_index": np.zeros(pairs, np.int64),
        "class_index": np.arange(pairs),
    }
    runs = {name: session_of(form.eval(), example) for name, form in forms.items()}
    outputs = {name: run(feeds) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run(feeds)
            taken[name].append((time.process_time() - start) * 1000)
    predicted, plain = predictions(tokens, width), float(np.median(taken["plain"]))
    click.echo("| form | predicted saving | measured saving | max difference |\n|---|---:|---:|---:|")
    rows = []
    for name in runs:
        ratios = [
            (base - own) / (base / layers * TRUNK_LAYERS) for base, own in zip(taken["plain"], taken[name], strict=True)
        ]
        difference = float(np.abs(outputs[name] - outputs["plain"]).max())
        row = {
            "form": name,
            "predicted": predicted[name],
            "measured": float(np.median(ratios)),
            "difference": difference,
        }
        rows.append(row | {"cpu_ms": taken[name]})
        click.echo(f"| {name} | {100 * row['predicted']:.2f} % | {100 * row['measured']:.2f} % | {difference:.1e} |")
    click.echo(f"{pairs} pairs through {layers} layers, plain: {plain:.0f} ms of the processor")
    if report_path is not None:
        report_path.write_text(json.dumps({"pairs": pairs, "layers": layers, "rows": rows}, indent=1) + "\n", "utf-8")


def session_of(module: nn.Module, example: dict[str, Tensor]) -> Callable[[dict[str, Any]], Any]:
    """The exported module in ONNX Runtime."""
    axes = {name: {0: axis} for name, axis in zip(INPUTS, "CKPP", strict=True)}
    proto = export_graph(Graph("part.onnx", module, module, example, axes, ("patches",))).proto
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.onnx"
        path.write_bytes(proto.SerializeToString())
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)[0]


if __name__ == "__main__":
    main()
