"""The second picture maker: pinned bytes, honest masks, no code of the first; and what is counted on its pictures."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks.judge import art, figures, grounds, ladder, maker
from benchmarks.judge.__main__ import main
from benchmarks.judge.dice import Dice
from benchmarks.judge.maker import Maker, Scene, Shown
from benchmarks.judge.scenes import CHOICE, DEMO, FIGURES
from clsclip.errors import DataError
from clsclip.evaluation import Prediction
from clsclip.reproduce.stickers.vocabulary import nouns

PINNED = ["d7f96bb68f1fd642", "1282151116e65599", "f2bdf1dcffefd932", "d9ffcdcf154332db"]
"""Digests of scenes 0 to 3 of the drawings below. They change when the maker does, and then the ladder starts anew."""

Mask = np.typing.NDArray[np.bool_]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes of two colors in frames of different heights, made of numbers alone, for every noun in both styles."""
    root = tmp_path_factory.mktemp("node_modules")
    for style, tall in (("noto", 24), ("fluent", 30)):
        folder, ending = art.FOLDERS[style]
        (root / folder).mkdir(parents=True)
        for noun in nouns():
            pixels = np.zeros((36, 32, 4), np.uint8)
            pixels[3 : 3 + tall, 2:30] = (noun.index % 251, 3 * noun.index % 253, 200, 255)
            pixels[5 : 3 + tall : 4, 2:30, :3] = (255 - noun.index % 199, 90, 7 * noun.index % 241)
            path = root / folder / (art.name_of(noun.emoji[0]) + ending)
            Image.fromarray(pixels).save(path, **({"lossless": True} if ending == ".webp" else {}))
    return root


@pytest.fixture(scope="module")
def small(drawings: Path) -> Maker:
    return Maker(drawings, sides=(60, 100))


def test_scenes_are_pinned(small: Maker) -> None:
    assert [small.scene(seed).digest() for seed in range(4)] == PINNED


def test_the_maker_shares_no_code_with_the_one_of_training() -> None:
    for module in (art, grounds, maker, __import__("benchmarks.judge.dice", fromlist=["dice"])):
        tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        own = {name for name in imported if name and name.startswith("clsclip")}
        # Opening a picture that is there makes none.
        assert all(name.split(".")[-1] in ("vocabulary", "errors", "images", "paths") for name in own), own


def test_seeds_for_figures_and_choices_and_people_are_disjoint() -> None:
    assert len(FIGURES) == 500 and len(DEMO) == 12
    assert len({*FIGURES, *CHOICE, *DEMO}) == len(FIGURES) + len(CHOICE) + len(DEMO)


def test_scenes_show_what_they_say(small: Maker) -> None:
    shown = 0
    for seed in range(40):
        scene = small.scene(seed)
        height, width = scene.pixels.shape[:2]
        assert height != width and min(height, width) >= 60 and max(height, width) <= 101
        together = sum((thing.mask.astype(int) for thing in scene.things), np.zeros((height, width), int))
        assert together.max(initial=0) <= 1, "a pixel belongs to the thing in front alone"
        for thing in scene.things:
            rows, columns = np.nonzero(thing.mask)
            assert len(rows) >= maker.LEAST_PIXELS
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (scene.mask(thing.noun) >= thing.mask).all()
        shown += len(scene.things)
    assert 80 < shown < 280


def test_a_thing_is_where_its_mask_says(drawings: Path) -> None:
    """A drawing without color stays out of every channel: with black drawings, masks are the dark places."""
    black = Maker(drawings, sides=(60, 100))
    for path in list((drawings / art.FOLDERS["noto"][0]).iterdir()) + list(
        (drawings / art.FOLDERS["fluent"][0]).iterdir()
    ):
        layer = np.zeros((20, 20, 4))
        layer[..., 3] = 1
        black.gallery._read[path] = [layer]
    tried = 0
    for seed in range(60):
        scene = black.scene(seed)
        if scene.things:
            inside = np.any([thing.mask for thing in scene.things], axis=0)
            tried += 1
            assert scene.pixels[inside].mean() < 60 and scene.pixels[inside].mean() < scene.pixels[~inside].mean()
    assert tried > 30


def test_every_kind_of_ground_differs_by_seed_and_fills_the_picture() -> None:
    for kind in grounds.KINDS:
        first, second = (np.clip(kind(Dice(1, seed), 50, 70), 0, 255) for seed in (1, 2))
        assert first.shape == (50, 70, 3) and np.isfinite(first).all()
        assert first.std() > 1 and not np.allclose(first, second)
        assert np.array_equal(first, np.clip(kind(Dice(1, 1), 50, 70), 0, 255))


def test_absent_packages_say_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="npm install emoji-datasource-google"):
        Maker(tmp_path)


def test_as_many_absent_words_as_present_ones_are_asked(small: Maker) -> None:
    for seed in range(20):
        scene = small.scene(seed)
        present, absent = figures.asked(scene)
        assert len(absent) == len(present) == len({thing.noun for thing in scene.things})
        assert not set(present) & set(absent)
    assert figures.asked(scene) == figures.asked(small.scene(19))


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_inner_edges_are_those_of_the_definition(reach: int) -> None:
    rng = np.random.default_rng(reach)
    mask = rng.random((17, 23)) < 0.9
    padded = np.pad(mask, reach)
    expected = np.array(
        [
            [mask[y, x] and not padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1].all() for x in range(23)]
            for y in range(17)
        ]
    )
    assert np.array_equal(figures.inner_edge(mask, reach), expected)


def square(*box: int) -> Mask:
    mask = np.zeros((100, 100), np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_things_are_counted_by_size() -> None:
    """One thing of 4 % exactly found, one of 0.25 % missed, one of 25 % marked by half; one absent word marks 1 %."""
    large, small_one, half = square(0, 0, 20, 20), square(40, 40, 45, 45), square(50, 50, 100, 100)
    held_out = next(noun.index for noun in nouns() if noun.held_out)
    words = [0, 1, held_out]
    things = [
        Shown(noun, "noto", (0, 0, 1, 1), mask) for noun, mask in zip(words, (large, small_one, half), strict=True)
    ]
    scene = Scene(7, np.zeros((100, 100, 3), np.uint8), tuple(things))
    nothing = np.zeros_like(large)
    masks = np.stack([large, nothing, square(50, 50, 75, 100), square(0, 90, 10, 100), nothing, nothing])
    counted = figures.Count()
    counted.add(scene, words, [5, 6, 7], Prediction(masks))
    document = counted.to_json()
    assert document["miou"] == 50.0 and document["miou_trained"] == 50.0 and document["miou_held_out"] == 50.0
    assert document["leakage"] == round(100 / (400 + 1250), 3)
    assert [size["things"] for size in document["sizes"]] == [1, 0, 1, 1]
    assert [size["missed"] for size in document["sizes"]] == [100.0, None, 0.0, 0.0]
    assert [size["median_iou"] for size in document["sizes"]] == [None, None, 100.0, 50.0]
    assert 50 < document["boundary_iou"] < 100


def test_two_things_of_one_word_do_not_spoil_each_other() -> None:
    things = tuple(Shown(3, "noto", (0, 0, 1, 1), mask) for mask in (square(0, 0, 20, 20), square(60, 60, 80, 80)))
    scene = Scene(1, np.zeros((100, 100, 3), np.uint8), things)
    counted = figures.Count()
    counted.add(scene, [3], [], Prediction(scene.mask(3)[None]))
    assert [one[1] for one in counted.things] == [1.0, 1.0]


def test_a_row_is_recorded_once_and_the_tables_are_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "LADDER", tmp_path / "ladder.json")
    row = {"label": "one", "data": "judge"} | figures.Count().to_json()
    ladder.record(row)
    ladder.record(row | {"miou": 12.5})
    assert [one["miou"] for one in ladder.read()["rows"]] == [12.5]
    readme = tmp_path / "README.md"
    readme.write_text(
        "".join(f"a\n<!-- {data} -->\nold\n<!-- /{data} -->\n" for data in (*ladder.DATA, "towers")), "utf-8"
    )
    card = tmp_path / "card.md"
    card.write_text("a\n<!-- ladder -->\nold\n<!-- /ladder -->\nb\n", "utf-8")
    ladder.record(row | {"label": "embedded, refined", "data": "unseen-style", "miou": 7.5})
    ladder.fill_readme(readme, card)
    text = readme.read_text("utf-8")
    assert "old" not in text and "| one | 12.5 |" in text
    shown = card.read_text("utf-8")
    assert "| the training maker's, a style never seen | refined | 7.5 |" in shown and shown.endswith("b\n")
    assert "old" not in shown and "12.5" not in shown
    log = tmp_path / "pretrain.jsonl"
    shares = [{"noto": {"trained": share, "held_out": share + 1}} for share in (10.0, 20.5)]
    lines = [{"step": 0, "named_right": shares[0]}, {"step": 25, "steps_per_second": 0.5}]
    log.write_text(
        "".join(json.dumps(line) + "\n" for line in (*lines, {"step": 90, "named_right": shares[1]})), "utf-8"
    )
    ladder.record_towers("better towers", log)
    ladder.fill_readme(readme, card)
    text = readme.read_text("utf-8")
    assert "| better towers | 90 | 10 / 11 | 20.5 / 21.5 |" in text and "| one | 12.5 |" in text
    log.write_text(json.dumps(lines[1]), "utf-8")
    with pytest.raises(Exception, match="--probes"):
        ladder.record_towers("none", log)
    readme.write_text("nothing", "utf-8")
    with pytest.raises(Exception, match="no place for the table"):
        ladder.fill_readme(readme, card)


def test_models_are_scored_by_one_command(drawings: Path) -> None:
    """The embedded model has never seen these stripes; what counts is that every kind of row runs on the same words."""
    pairs = set()
    for kind in ("model", "cosine", "cosine-winner", "naclip"):
        arguments = ["score", str(drawings), "--kind", kind, "--pictures", "2"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ladder, "FIT_IMAGES", 2)
            done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        document = json.loads(done.output)
        assert document["pictures"] == 2
        pairs.add(document["pairs"])
    alone = Path(ladder.__file__).parents[2] / "models" / "stickers" / "towers"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "FIT_IMAGES", 2)
        done = CliRunner().invoke(main, [*arguments, "--model", str(alone)])
    again = json.loads(done.output)
    assert again.pop("ms") > 0 and document.pop("ms") > 0
    assert again == document, "towers alone are the same as those in the checkpoint"
    assert len(pairs) == 1
    refused = CliRunner().invoke(main, ["score", str(drawings), "--pictures", "2", "--label", "part"])
    assert refused.exit_code == 2 and "whole runs" in refused.output
