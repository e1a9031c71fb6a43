"""The sticker world: the same bytes every time, masks that are right, held-out words that stay unseen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from clsclip.errors import DataError, TrainingError
from clsclip.reproduce.naming import named_right, normalise, single_things
from clsclip.reproduce.pretrain import PretrainConfig, matching_loss, new_towers, pretrain, split_parts
from clsclip.reproduce.pretrain_state import STATE_FILE
from clsclip.reproduce.schedule import Schedule
from clsclip.reproduce.stickers.captions import train_tokenizer
from clsclip.reproduce.stickers.grounds import MAKERS, POOL_SIDE, crop_ground, halves
from clsclip.reproduce.stickers.images import StickerWorld
from clsclip.reproduce.stickers.layers import Pyramid, noise_of, recolored
from clsclip.reproduce.stickers.mosaics import CaptionedBatches, recoloured
from clsclip.reproduce.stickers.sheets import STYLES, StickerBook, emoji_file_stems, icon_name, icon_set, load_sticker
from clsclip.reproduce.stickers.vocabulary import PASCAL_NOUNS, nouns
from clsclip.tower_files import load_towers
from tests.tiny import draw_stickers


@pytest.fixture(scope="module")
def world(sticker_root: Path) -> StickerWorld:
    return StickerWorld(StickerBook(sticker_root, ["noto"]), side=32, sizes=(0.2, 0.6), things=(1, 4), seed=4)


def test_vocabulary() -> None:
    names = [noun.name for noun in nouns()]
    words = names + [word for noun in nouns() for word in noun.synonyms]
    assert len(set(words)) == len(words), "a word that names two things cannot be told apart"
    assert names[0] == "aeroplane"
    assert names[PASCAL_NOUNS - 1] == "tv monitor"
    assert 0.15 < np.mean([noun.held_out for noun in nouns()]) < 0.35


def test_emoji_names() -> None:
    assert emoji_file_stems("⛵") == ["26f5", "26f5-fe0f"]
    assert emoji_file_stems("✈️")[0] == "2708-fe0f"


def test_pictures_are_deterministic(sticker_root: Path, world: StickerWorld) -> None:
    again = StickerWorld(StickerBook(sticker_root, ["noto"]), side=32, sizes=(0.2, 0.6), things=(1, 4), seed=4)
    other = StickerWorld(StickerBook(sticker_root, ["noto"]), side=32, sizes=(0.2, 0.6), things=(1, 4), seed=5)
    for index in range(5):
        first, second = world.image(index), again.image(index)
        assert np.array_equal(first.pixels, second.pixels)
        assert np.array_equal(first.instances, second.instances)
        assert not np.array_equal(first.pixels, other.image(index).pixels)


def test_masks_and_boxes_agree(world: StickerWorld) -> None:
    for index in range(40):
        image = world.image(index)
        assert image.pixels.shape == (32, 32, 3)
        assert int(image.instances.max(initial=0)) <= len(image.things)
        for number, thing in enumerate(image.things, start=1):
            rows, columns = np.nonzero(image.instances == number)
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (image.mask(thing.noun) >= (image.instances == number)).all()


@pytest.mark.parametrize("log_sizes", [False, True])
def test_sizes_or_their_logarithms_are_drawn_evenly(sticker_root: Path, log_sizes: bool) -> None:
    """One thing a picture of 400 px; the middle of 2 and 60 % is 31 %, of their logarithms 11 %."""
    book = StickerBook(sticker_root, ["noto"])
    world = StickerWorld(book, side=400, sizes=(0.02, 0.6), things=(1, 1), seed=4, log_sizes=log_sizes)
    boxes = [thing.box for index in range(60) for thing in world.image(index).things]
    middle = np.median([max(right - left, bottom - top) for left, top, right, bottom in boxes]) / 400
    low, high = (0.06, 0.17) if log_sizes else (0.22, 0.4)
    assert low < middle < high


def test_a_pool_of_nouns_is_kept_to(sticker_root: Path) -> None:
    world = StickerWorld(StickerBook(sticker_root, ["noto"]), side=32, sizes=(0.3, 0.6), seed=4, pool=(3, 5, 5))
    assert {noun for index in range(20) for noun in world.image(index).nouns} == {3, 5}


def test_absent_stickers_say_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="npm install"):
        StickerBook(tmp_path, ["noto"])
    with pytest.raises(DataError, match="No sticker style"):
        StickerBook(tmp_path, ["crayon"])


def test_drawings_are_rendered(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40">'
    (tmp_path / "square.svg").write_text(head + '<rect x="10" y="20" width="20" height="10" fill="#f00"/></svg>')
    sticker = load_sticker(tmp_path / "square.svg", side=80)
    assert sticker.size == (40, 20)
    assert sticker.getpixel((20, 10)) == (255, 0, 0, 255)
    (tmp_path / "bad.svg").write_text("<svg")
    with pytest.raises(DataError, match="no SVG drawing"):
        load_sticker(tmp_path / "bad.svg")


def test_what_one_style_lacks_is_shown_in_another(sticker_root: Path, tmp_path: Path) -> None:
    first = nouns()[0]
    style = STYLES["noto"]
    root = tmp_path / "stickers"
    shutil.copytree(sticker_root, root)
    draw_stickers(root, "twemoji")
    book = StickerBook(root, ["noto", "twemoji"])
    for emoji in first.emoji:
        for stem in emoji_file_stems(emoji):
            (root / style.package / style.folder / (stem + style.suffix)).unlink(missing_ok=True)
    mended = StickerBook(root, ["noto", "twemoji"])
    assert mended.stickers["noto", 0] == mended.stickers["twemoji", 0]
    assert mended.stickers["noto", 1] == book.stickers["noto", 1]
    with pytest.raises(DataError, match=f"draws none of '{first.name}'"):
        StickerBook(root, ["noto"])


def test_recolouring_keeps_brightness() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 160, (6, 6, 3), dtype=np.uint8)
    weights = np.array([0.299, 0.587, 0.114])
    for _ in range(5):
        other = recoloured(rng, pixels)
        assert other.shape == pixels.shape and other.dtype == np.uint8
        np.testing.assert_allclose(other @ weights, pixels @ weights, atol=2.5)
    assert not np.array_equal(other, pixels)


def test_captions_name_what_is_shown(world: StickerWorld) -> None:
    batch = CaptionedBatches(world, size=8, count=2, parts=(1,))[1]
    assert batch.shown.shape == (8, len(batch.phrases))
    for row in range(8):
        image = world.image(8 + row)
        assert np.array_equal(batch.pixels[row].permute(1, 2, 0).numpy(), image.pixels)
        assert int(batch.shown[row].sum()) >= len(image.nouns)
        for noun in image.nouns:
            entry = nouns()[noun]
            assert any(word in batch.captions[row] for word in (entry.name, *entry.synonyms))


def test_mosaics_say_what_each_part_shows(world: StickerWorld) -> None:
    batches = CaptionedBatches(world, size=3, count=4, parts=(2,), close_up=(0.6, 0.9))
    batch, again = batches[2], batches[2]
    assert torch.equal(batch.pixels, again.pixels) and batch.phrases == again.phrases
    assert batch.pixels.shape == (3, 3, 32, 32) and batch.parts == 2 and batch.captions == []
    assert batch.shown.shape == (3 * 2 * 2, len(batch.phrases))
    words = {word: noun.index for noun in nouns() for word in (noun.name, *noun.synonyms)}
    for number in range(12):
        part = batches.makers[2].image(2 * 12 + number)
        row, column = divmod(number % 4, 2)
        window = batch.pixels[number // 4, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        assert np.array_equal(window.permute(1, 2, 0).numpy(), part.pixels)
        for text, shown in zip(batch.phrases, batch.shown[number], strict=True):
            named = max((word for word in words if text.endswith(word)), key=len)
            assert (words[named] in part.nouns) == bool(shown)


def test_parts_hold_their_own_patches() -> None:
    # 4 x 4 patches numbered row by row, in 2 x 2 parts of 2 x 2 patches.
    parts = split_parts(torch.arange(16.0).reshape(1, 16, 1), 2)
    assert parts.squeeze(-1).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_tokenizer_reads_any_script() -> None:
    tokenizer = train_tokenizer()
    assert tokenizer.encode("A  Dog").ids == tokenizer.encode("a dog").ids
    for word in ("dog", "собака", "犬", "🐕"):
        assert tokenizer.encode(word).ids[0] == 1
        assert tokenizer.encode(word).ids[-1] == 2


def test_losses_by_hand() -> None:
    # Two pictures, two words, right on the diagonal, logits 0 and 2: log(1 + e^-2) whichever way it is read.
    loss = matching_loss(torch.eye(2) * 2, torch.eye(2))
    assert loss.item() == pytest.approx(np.log(1 + np.exp(-2)))
    # Both words are shown by both pictures: nothing is wrong, nothing is lost.
    assert matching_loss(torch.randn(2, 2), torch.ones(2, 2)).item() == pytest.approx(0)


def test_pretraining_writes_towers_that_load(world: StickerWorld, tmp_path: Path) -> None:
    towers, config = new_towers(train_tokenizer(), 32, seed=0)
    settings = PretrainConfig(steps=2, workers=0)
    pretrain(towers, config, CaptionedBatches(world, 8, 2, parts=(1, 2)), settings, tmp_path)
    loaded = load_towers(str(tmp_path))
    assert loaded.fingerprint() == towers.fingerprint()
    assert "pictures_per_second" in (tmp_path / "pretrain.jsonl").read_text()


def test_a_stopped_run_goes_on_as_if_it_had_not_been(world: StickerWorld, tmp_path: Path) -> None:
    """Six steps at once, and four and then six: the same towers; other settings are refused by name."""
    rate = PretrainConfig(steps=6, cooldown=2, warmup=2, mean_decay=0.9, workers=0)
    ends = []
    for folder, lengths in (("once", (6,)), ("twice", (4, 6))):
        for steps in lengths:
            towers, config = new_towers(train_tokenizer(), 32, seed=0)
            settings = replace(rate, steps=steps, cooldown=steps - 4)  # a stopped run was on its plateau still
            batches = CaptionedBatches(world, 4, steps, parts=(1, 2))
            (tmp_path / folder).mkdir(exist_ok=True)
            pretrain(towers, config, batches, settings, tmp_path / folder, settings={"batch": 4})
        ends.append(load_towers(str(tmp_path / folder)).fingerprint())
    assert ends[0] == ends[1]
    lines = [json.loads(line) for line in (tmp_path / "twice" / "pretrain.jsonl").read_text("utf-8").splitlines()]
    assert [(line["step"], line["resumed"]) for line in lines if "resumed" in line] == [(0, False), (4, True)]
    with pytest.raises(TrainingError, match="batch: 4"):
        pretrain(towers, config, batches, settings, tmp_path / "twice", settings={"batch": 8})
    state = tmp_path / "twice" / STATE_FILE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="damaged"):
        pretrain(towers, config, batches, settings, tmp_path / "twice", settings={"batch": 4})


def test_rates_of_both_schedules() -> None:
    cosine = Schedule(peak=2.0, warmup=4, steps=104)
    assert [cosine.rate(step) for step in (0, 3, 4, 54)] == pytest.approx([0.5, 2.0, 2.0, 1.0])
    plateau = Schedule(peak=2.0, warmup=4, steps=100, cooldown=10)
    assert [plateau.rate(step) for step in (1, 4, 90, 95, 99)] == pytest.approx([1.0, 2.0, 2.0, 1.0, 0.2])
    assert Schedule(peak=2.0, warmup=4, steps=100, cooldown=0).rate(99) == 2.0


def test_single_things_are_named(sticker_root: Path) -> None:
    """Random towers name about one of 427; towers whose words point where the pictures do name all."""
    towers, _ = new_towers(train_tokenizer(), 32, seed=0)
    things = single_things(sticker_root, "noto", 30, 32)
    assert things.pixels.shape == (len(things.shown), 3, 32, 32)
    assert named_right(towers.eval(), [things])["noto"]["trained"] < 20
    with torch.no_grad():
        encoded = towers.run_layers(towers.embed(normalise(things.pixels, towers.image)), 0, towers.layers)
        images = towers.features(encoded)[0]
        words = torch.nn.functional.normalize(torch.randn(len(nouns()), images.shape[1]), dim=1)
        words[things.shown] = images
    towers.text_features = lambda tokens: words  # type: ignore[method-assign]
    shares = named_right(towers, [things])["noto"]
    shown_twice = len(things.shown) - len(set(things.shown.tolist()))
    assert min(shares["trained"], shares["held_out"]) >= 100 - 100 * shown_twice / 5


def test_a_pyramid_poses_what_the_sticker_shows() -> None:
    """A disc of 40 px with a red left half: size, colour and place after turning, flipping and squashing."""
    sticker = Image.new("RGBA", (40, 40))
    ImageDraw.Draw(sticker).ellipse((0, 0, 39, 39), fill=(0, 0, 255, 255))
    ImageDraw.Draw(sticker).pieslice((0, 0, 39, 39), 90, 270, fill=(255, 0, 0, 255))
    pyramid = Pyramid(sticker)
    straight = pyramid.posed(20, 1, 0, False, 1)
    assert straight.shape == (20, 20, 4)
    assert straight[10, 3].tolist() == [255, 0, 0, 255] and straight[10, 16].tolist() == [0, 0, 255, 255]
    assert (straight[..., 3] > 127).mean() == pytest.approx(np.pi / 4, abs=0.03)
    assert pyramid.posed(20, 1, 0, True, 1)[10, 3].tolist() == [0, 0, 255, 255]
    quarter = pyramid.posed(20, 1, np.pi / 2, False, 1)
    middle = quarter.shape[0] // 2
    assert quarter[3, middle, 0] > 250 and quarter[-4, middle, 2] > 250
    assert pyramid.posed(20, 1, 0, False, 2).shape[:2] == (10, 40)
    assert pyramid.posed(20, 2, np.pi / 2, False, 2).shape[:2] == pytest.approx((20, 20), abs=1)


def test_recoloured_layers_stay_premultiplied() -> None:
    layer = np.full((2, 2, 4), (60.0, 30.0, 0.0, 100.0), np.float32)
    other = recolored(layer, np.array([2.0, 1.0, 1.0], np.float32), 1.0, 0.0)
    assert other[0, 0].tolist() == pytest.approx([100, 30, 0, 100]), "no colour exceeds what alpha lets through"
    gray = recolored(layer, np.ones(3, np.float32), 0.0, 51.0)
    assert gray[0, 0].tolist() == pytest.approx([50, 50, 50, 100])


def test_every_kind_of_ground_is_a_picture() -> None:
    for maker in MAKERS:
        made = maker(np.random.default_rng(3))
        assert made.shape == (POOL_SIDE, POOL_SIDE, 3) and made.dtype == np.uint8


def test_grounds_are_squashed_as_pictures_are() -> None:
    """Stripes of 32 px up and down, seen twice as wide: half as many changes along a row."""
    columns = np.repeat(np.arange(8) % 2 * 255, 32).astype(np.uint8)
    pool = (halves(Image.fromarray(np.broadcast_to(columns[None, :, None], (256, 256, 3)).copy())),)
    changes = {}
    for squash in (1.0, 2.0):
        rows = [crop_ground(np.random.default_rng(seed), pool, 64, squash)[32, :, 0] for seed in range(60)]
        changes[squash] = np.mean([np.count_nonzero(np.diff(row > row.mean())) for row in rows])
    assert 0.4 < changes[2.0] / changes[1.0] < 0.65


def test_icon_sets_are_read(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    pytest.importorskip("emoji")
    assert [icon_name(one) for one in ("✈️", "🎈", "👒")] == ["airplane", "balloon", "womans-hat"]
    style = STYLES["blobs"]
    path = tmp_path / style.package / style.folder
    path.parent.mkdir(parents=True)
    body = '<rect x="4" y="4" width="8" height="4" fill="#0f0"/>'
    names = {icon_name(emoji) for noun in nouns() for emoji in noun.emoji}
    first, *others = sorted(names)
    document = {"width": 16, "icons": {name: {"body": body} for name in others}, "aliases": {first: {"parent": "lion"}}}
    path.write_text(json.dumps(document | {"height": 16}), "utf-8")
    book = StickerBook(tmp_path, ["blobs"])
    assert book.stickers["blobs", 0][0].size == (64, 32)
    assert book.stickers["blobs", 0][0].getpixel((20, 10)) == (0, 255, 0, 255)
    assert len(book.pyramids("blobs", 0)[0].levels) == 4
    path.write_text("{}", "utf-8")
    icon_set.cache_clear()
    with pytest.raises(DataError, match="no icon set"):
        StickerBook(tmp_path, ["blobs"])


def test_noise_of_images_beyond_the_bank() -> None:
    """Of 1024 x 1024 pixels there are more numbers than are kept."""
    for shape in ((64, 48, 3), (1024, 1024, 3)):
        noise = noise_of(np.random.default_rng(3), shape)
        assert noise.shape == shape
        assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02
