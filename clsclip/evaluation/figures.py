"""Drawings: methods side by side, and where the navigated encoder looks beside the original one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from clsclip.data.base import IGNORE, Fold
from clsclip.errors import DataError
from clsclip.evaluation.evaluate import Method, predict
from clsclip.evaluation.metric import overlap_and_union
from clsclip.evaluation.predictors import CheckpointPredictor
from clsclip.evaluation.protocol import Protocol
from clsclip.evaluation.thresholds import MASK_THRESHOLDS, PRESENCE_THRESHOLDS, Counts, Point, point
from clsclip.model import ClsClip
from clsclip_runtime.paths import make_folder, write_file

_MASK_COLOR = np.array([255, 30, 60], np.float32)
_IGNORE_COLOR = np.array([255, 255, 255], np.float32)
_OPACITY = 0.55
_CELL_INCHES = 2.2
_TITLE_POINTS = 8


def painted(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], ignore: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with a mask (H, W) laid over it; ignored pixels are white."""
    pixels = image.astype(np.float32)
    pixels[mask] = pixels[mask] * (1 - _OPACITY) + _MASK_COLOR * _OPACITY
    if ignore is not None:
        pixels[ignore] = _IGNORE_COLOR
    return np.clip(pixels, 0, 255).astype(np.uint8)


def side_by_side(
    fold: Fold,
    methods: Sequence[Method],
    protocol: Protocol,
    pairs: Sequence[tuple[int, int]],
    names: Sequence[str] | None = None,
) -> Figure:
    """One row a (picture index, class id): the picture, the truth, and every method's mask with its IoU.

    Args:
        fold: its test side is shown.
        methods: what draws the masks.
        protocol: at which size.
        pairs: the rows.
        names: of the methods, in place of their own.
    """
    names = [one.name for one in methods] if names is None else names
    if not pairs:
        raise DataError("There is no pair to show: the test is empty, or no picture has that name.")
    figure = _figure(len(pairs), 2 + len(methods))
    for row, (index, class_id) in enumerate(pairs):
        image = protocol.image(fold.test.image(index))
        truth = protocol.mask(fold.test.mask(index, class_id))
        axes = figure.axes[row * (2 + len(methods)) :]
        word = fold.test.classes[class_id]
        axes[0].imshow(image)
        _title(axes[0], f"{fold.test.key(index)}: {word}")
        axes[1].imshow(painted(image, truth == 1, truth == IGNORE))
        _title(axes[1], "truth (white: not counted)" if (truth == IGNORE).any() else "truth")
        for axis, method, name in zip(axes[2:], methods, names, strict=False):
            mask = predict(fold, method, protocol, index, [class_id])[0].masks[0]
            (_, (both, either)) = overlap_and_union(mask, truth).tolist()
            axis.imshow(painted(image, mask))
            _title(axis, f"{name}\nIoU {100 * both / either if either else 0:.1f}")
    return figure


def curves_figure(training: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, and validation's mIoU and leakage, by step.

    Args:
        training: lines of ``train.jsonl``.
        validation: lines of ``validation.jsonl``.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, quality = figure.subplots(1, 2)
    _curve(loss, training, "loss", "loss")
    loss.set_title("training", fontsize=_TITLE_POINTS + 1)
    _curve(quality, validation, "miou", "mIoU %")
    _curve(quality, validation, "which_word", "which-word mIoU %")
    _curve(quality, [{**one, "leakage": 100 * (one.get("leakage") or 0)} for one in validation], "leakage", "leakage %")
    quality.set_title("validation", fontsize=_TITLE_POINTS + 1)
    quality.set_ylim(bottom=0)
    for axis in (loss, quality):
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=_TITLE_POINTS)
    return figure


def thresholds_figure(counts: Counts, current: Point, found: Point) -> Figure:
    """Mean IoU by mask threshold and by presence threshold, with the thresholds that are stored and the best."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    mask, presence = figure.subplots(1, 2)
    for one, name in ((current, "stored"), (found, "best")):
        line = [point(counts, float(cut), one.presence).iou for cut in MASK_THRESHOLDS]
        mask.plot(MASK_THRESHOLDS, line, label=f"presence threshold {one.presence:.2f} ({name})")
        mask.axvline(one.mask, linestyle=":", color="gray")
    along = [point(counts, found.mask, float(cut)) for cut in PRESENCE_THRESHOLDS]
    presence.plot(PRESENCE_THRESHOLDS, [one.iou for one in along], label="mean IoU %")
    presence.plot(PRESENCE_THRESHOLDS, [100 * one.present_kept for one in along], label="present words kept %")
    presence.plot(PRESENCE_THRESHOLDS, [100 * one.absent_kept for one in along], label="absent words kept %")
    for one in (current, found):
        presence.axvline(one.presence, linestyle=":", color="gray")
    for axis, title in ((mask, "mask threshold"), (presence, f"presence threshold, mask {found.mask:.3f}")):
        axis.set_xlabel(title)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=_TITLE_POINTS)
    mask.set_ylabel("mean IoU %")
    return figure


def _curve(axis: Any, lines: Sequence[Mapping[str, Any]], name: str, label: str) -> None:
    points = [(one["step"], one[name]) for one in lines if isinstance(one.get(name), (int, float))]
    if points:
        axis.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 40 else "")


@torch.no_grad()
def attention_maps(model: ClsClip, pixel_values: Tensor, text_token: Tensor) -> tuple[Tensor, Tensor]:
    """Where the first token looks, in every layer of the image tower, heads averaged.

    Args:
        model: its navigated path puts the text token in the place of [CLS] in the navigation layers.
        pixel_values: (1, 3, S, S).
        text_token: (d_text,).

    Returns:
        original and navigated attention, each (N, g, g) for g x g patches: a layer's weights from [CLS] (or from the
        text token's map in its place) to the patches. What goes to [CLS] itself is missing, so they sum to less than 1.
    """
    navigated = model.towers.embed(pixel_values)
    if model.prompts is not None:
        navigated = model.prompts(navigated)
    original = model.towers.embed(pixel_values)
    maps: tuple[list[Tensor], list[Tensor]] = ([], [])
    for layer, module in enumerate(model.towers.visual.transformer.resblocks):
        if str(layer) in model.maps:
            word = model.maps[str(layer)](text_token).reshape(1, 1, -1)
            navigated = torch.cat([word, navigated[:, 1:]], dim=1)
        for tokens, found in ((original, maps[0]), (navigated, maps[1])):
            weights = first_token_attention(module, tokens)
            found.append(weights[-(model.towers.grid**2) :].reshape(model.towers.grid, model.towers.grid))
        original = model.towers.run_layers(original, layer, layer + 1)
        navigated = model.towers.run_layers(navigated, layer, layer + 1)
    return torch.stack(maps[0]), torch.stack(maps[1])


def first_token_attention(module: Any, tokens: Tensor) -> Tensor:
    """Attention of the first token of (1, n, d) to all n in one block, heads averaged: (n,), sums to 1."""
    layer = cast(nn.MultiheadAttention, module.attn)
    _, count, width = tokens.shape
    weight, bias = cast(Tensor, layer.in_proj_weight), cast(Tensor, layer.in_proj_bias)
    packed = nn.functional.linear(module.ln_1(tokens), weight, bias)
    query, key, _ = packed.reshape(count, 3, layer.num_heads, width // layer.num_heads).permute(1, 2, 0, 3)
    scores = (query[:, :1] * layer.head_dim**-0.5) @ key.transpose(-2, -1)
    return torch.softmax(scores, dim=-1).mean(dim=0)[0]


def attention_figure(predictor: CheckpointPredictor, image: NDArray[np.uint8], words: Sequence[str]) -> Figure:
    """One column a layer: the original encoder in the first row, and the navigated one below, a row for every word."""
    values = predictor.pixel_values(image)
    tokens = predictor.text_tokens(words)
    layers = predictor.model.towers.layers
    figure = _figure(1 + len(words), 1 + layers)
    figure.axes[0].imshow(image)
    _title(figure.axes[0], "original")
    navigation = set(predictor.model.config.navigation_layers)
    for row, word in enumerate(words, start=1):
        original, navigated = attention_maps(predictor.model, values, tokens[row - 1])
        prediction = predictor.predict(image, [word])
        figure.axes[row * (1 + layers)].imshow(painted(image, prediction.masks[0]))
        _title(figure.axes[row * (1 + layers)], f'"{word}": mask')
        for layer in range(layers):
            if row == 1:
                _heat(figure.axes[1 + layer], original[layer], f"layer {layer}")
            mark = " (text)" if layer in navigation else ""
            _heat(figure.axes[row * (1 + layers) + 1 + layer], navigated[layer], f"layer {layer}{mark}")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG. OutputError if it cannot be written."""
    make_folder(path.parent)
    write_file(path, lambda file: figure.savefig(file, dpi=110, format="png"))


def _figure(rows: int, columns: int) -> Figure:
    figure = Figure(figsize=(columns * _CELL_INCHES, rows * (_CELL_INCHES + 0.3)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.subplots(rows, columns, squeeze=False)
    for axis in figure.axes:
        axis.set_axis_off()
    return figure


def _title(axis: Any, text: str) -> None:
    axis.set_title(text, fontsize=_TITLE_POINTS)


def _heat(axis: Any, weights: Tensor, title: str) -> None:
    axis.imshow(weights.float().cpu().numpy(), cmap="inferno", vmin=0)
    _title(axis, title)
