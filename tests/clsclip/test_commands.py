"""The README's sticker-world commands, run small, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from clsclip.checkpoint import load_checkpoint
from clsclip.stickers.__main__ import main


def run(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_pretrain_train_and_evaluate(sticker_root: Path, tmp_path: Path) -> None:
    stickers = ("--stickers", sticker_root, "--style", "noto")
    run("pretrain", *stickers, "--out", tmp_path / "clip", "--side", 32, "--steps", 2, "--batch", 4, "--parts", "1,2")
    fitted = run(
        "train", *stickers, "--towers", tmp_path / "clip", "--out", tmp_path / "run", "--side", 32, "--steps", 2
    )
    model, header = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert header["provenance"]["presence_threshold"] == json.loads(fitted)["threshold"]
    assert model.config.variant == "text_token+similarity"
    made = run("pictures", *stickers, "--out", tmp_path / "made", "--count", 2, "--side", 48).splitlines()
    assert all(Path(json.loads(line)["file"]).is_file() for line in made)
    table = run("evaluate", *stickers, "--count", 2, "--side", 64, "--json")
    assert [row["words"] for row in json.loads(table)["rows"]] == ["seen", "held out"] * 2


def test_evaluate_counts_pixels_by_hand(sticker_root: Path) -> None:
    import numpy as np

    from clsclip.stickers.evaluate import evaluate
    from clsclip.stickers.pictures import StickerWorld
    from clsclip.stickers.sheets import StickerBook
    from clsclip.stickers.vocabulary import nouns

    world = StickerWorld(StickerBook(sticker_root, ["noto"]), side=32, sizes=(0.3, 0.6), seed=6)
    pictures = [world.picture(index) for index in range(6)]
    by_name = {noun.name: noun.index for noun in nouns()}

    class Oracle:
        """Marks every present word rightly, and ``wrong`` pixels of every absent one."""

        def __init__(self, wrong: int) -> None:
            self.wrong = wrong

        def set_image(self, pixels: object) -> None:
            self.picture = next(picture for picture in pictures if picture.pixels is pixels)

        def predict(self, words: list[str], presence_threshold: float | None) -> Oracle:
            return self

        def mask(self, word: str) -> np.ndarray:
            if by_name[word] in self.picture.nouns:
                return self.picture.mask(by_name[word])
            return np.arange(32 * 32).reshape(32, 32) < self.wrong

    perfect = evaluate(Oracle(0), pictures)  # type: ignore[arg-type]
    assert all(score.miou == 100 and score.leakage == 0 for score in perfect.values())
    leaky = evaluate(Oracle(10), pictures)["seen"]  # type: ignore[arg-type]
    words = sum(not nouns()[noun].held_out for picture in pictures for noun in picture.nouns)
    assert leaky.marked_absent == 10 * words
    assert leaky.miou == 100
