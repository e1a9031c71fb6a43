"""Estimates: operations against what a step really multiplies, and time against a clock of the test's own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clsclip.cli import recipes
from clsclip.cli.train import command
from clsclip.model import ClsClip, ModelConfig
from clsclip.training.config import TrainConfig
from clsclip.training.estimate import MEASURED, Estimate, amount, lasting, operations
from clsclip.training.loop import train
from tests.clsclip.training.tiny_fold import tiny_fold
from tests.tiny import tiny_towers


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(decoder_heads=2, navigation_layers=(1, 2)),
        ModelConfig(decoder_heads=2, navigation_layers=(1,), decoder_inputs=("text_token", "similarity", "stem")),
        ModelConfig(decoder_heads=2, use_of_text="film", visual_prompts=3),
    ],
)
def test_operations_are_those_of_a_real_step(config: ModelConfig) -> None:
    model = ClsClip(tiny_towers(), config).eval()
    size = model.towers.image.size
    pixels, words = torch.randn(3, 3, size, size), torch.randn(4, model.towers.text_width)
    crops, classes = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 3, 1, 2, 0])
    with FlopCounterMode(display=False) as counter:
        model(pixels, words, crops, classes).sum().backward()
    # The text features of the words, once a step, are the part that does not grow with pairs.
    assert operations(model, 3, 5) == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def test_the_time_is_told_once_after_twenty_steps() -> None:
    now, told = [100.0], []  # type: tuple[list[float], list[str]]
    estimate = Estimate(1000, 200, clock=lambda: now[0], told=told.append)
    for done in range(201, 300):
        now[0] += 30.0 if done == 201 else 3.0
        estimate.step(done)
    (line,) = told
    seconds = 30.0 + 19 * 3.0 + 780 * 3.0
    assert line.startswith(f"about {lasting(seconds)} for 800 steps") and "3 s a step" in line


def test_a_run_as_short_as_the_measurement_tells_nothing() -> None:
    told: list[str] = []
    estimate = Estimate(MEASURED, 0, told=told.append)
    for done in range(1, MEASURED + 1):
        estimate.step(done)
    assert not told


def test_units() -> None:
    assert [lasting(one) for one in (45, 600, 33000, 3 * 86400)] == ["45 s", "10 min", "9.17 hours", "3 days"]
    assert [amount(one) for one in (5e9, 6.8e12, 2.5e15, 1.2e19)] == ["5 GFLOP", "6.8 TFLOP", "2.5 PFLOP", "12 EFLOP"]


def test_a_run_tells_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = ClsClip(tiny_towers(), ModelConfig(decoder_heads=2, navigation_layers=(1,)))
    with caplog.at_level(logging.INFO):
        summary = train(model, tiny_fold(), TrainConfig(steps=60, batch=4, workers=0, device="cpu"), tmp_path / "run")
    told = [one.getMessage() for one in caplog.records]
    assert any("a step of 4 pairs, forward and backward" in one and "for 60 steps" in one for one in told)
    (line,) = [one for one in told if one.startswith("about ")]
    assert "for 60 steps" in line
    assert summary.steps == 60


def parsed(*arguments: str) -> tuple[click.Context, dict[str, Any]]:
    context = command.make_context("clsclip-train", [*arguments, "--root", "VOC", "--out", "run"])
    recipes.settle(context, context.params)
    return context, context.params


def test_a_recipe_is_what_the_paper_says() -> None:
    context, pascal = parsed("--recipe", "pascal", "--fold", "1")
    assert pascal["kind"] == "pascal" and pascal["batch"] == 64 and pascal["epochs"] == 200
    assert pascal["learning_rate"] == 1e-3 and pascal["navigation_layers"] == (2, 3, 4)
    assert (pascal["towers"], pascal["pretrained"]) == ("ViT-B-16", "openai")
    assert pascal["val"] == 0.02, "a recipe validates, which a benchmark's own protocol does not"
    lines = recipes.told(context)
    assert "from the paper" in lines[0] and "lr 0.001" in lines[0] and "batch 64" in lines[0]
    assert any("chosen here: dice 0.5 (the loss is not named" in line for line in lines)
    assert not any("given in place" in line for line in lines)
    _, coco = parsed("--recipe", "coco")
    assert coco["kind"] == "coco" and coco["batch"] == 512


def test_options_beside_a_recipe_win() -> None:
    context, options = parsed("--recipe", "pascal", "--batch", "8", "--towers", "ViT-B-32", "--dice", "0")
    assert options["batch"] == 8 and options["towers"] == "ViT-B-32" and options["dice"] == 0
    assert options["pretrained"] is None, "the recipe's weights are those of its own towers"
    lines = recipes.told(context)
    assert lines[-1].startswith("recipe pascal, given in place of it:")
    assert "batch 8" in lines[-1] and "towers ViT-B-32" in lines[-1] and "dice 0.0" in lines[-1]
    assert "batch" not in lines[0] and not any("chosen here: dice" in line for line in lines)


def test_recipes_name_options_that_there_are() -> None:
    names = {one.name for one in command.params}
    for recipe in recipes.RECIPES.values():
        assert set(recipe.values) <= names


def test_without_a_recipe_nothing_is_told() -> None:
    context, options = parsed("--towers", "x", "--data", "folder")
    assert recipes.told(context) == [] and options["epochs"] == 200
