"""Pictures and masks as tensors, and the loss over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits

from clsclip.training.config import TrainConfig
from clsclip.training.loss import mask_loss
from clsclip.training.pairs import Failed, Piece, Pieces, mask_cells
from clsclip.training.plan import Plan
from clsclip_runtime.bundle.specs import ImageSpec
from clsclip_runtime.images import preprocess
from tests.clsclip.training.tiny_fold import Squares, tiny_fold

SPEC = ImageSpec(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "squash", "bicubic")


def pieces(data: Squares | None = None, rank: int = 0, processes: int = 1, **changes: object) -> Pieces:
    fold = tiny_fold(data)
    config = TrainConfig(**{"batch": 8, "steps": 4, "absent": 0.25} | changes)  # type: ignore[arg-type]
    return Pieces(fold, Plan(fold, config), SPEC, 16, rank, processes)


def made(data: Pieces, index: int) -> Piece:
    piece = data[index]
    assert isinstance(piece, Piece), piece
    return piece


@given(arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.sampled_from([0, 1, 255])))
def test_mask_cells_are_area_averages(mask: NDArray[np.uint8]) -> None:
    # every pixel blown up to side x side, so that each cell covers whole pixels: an exact second way
    side = 6
    target, weight = mask_cells(mask, side)
    height, width = mask.shape
    big = mask.repeat(side, axis=0).repeat(side, axis=1)
    cells = big.reshape(side, height, side, width).transpose(0, 2, 1, 3).reshape(side, side, -1)
    counted = (cells != 255).mean(axis=-1)
    # Pillow's box takes whole pixels by their centres where cells are smaller than pixels
    if height % side == 0 and width % side == 0:
        np.testing.assert_allclose(weight, counted, atol=1e-5)
        np.testing.assert_allclose(target * counted, (cells == 1).mean(axis=-1), atol=1e-5)
    assert target.min() >= 0 and target.max() <= 1 and weight.min() >= 0 and weight.max() <= 1


def test_a_piece_reads_each_picture_once_and_asks_its_words() -> None:
    data = Squares()
    piece = made(pieces(data, words_per_picture=2), 1)
    assert sorted(data.reads) == sorted(set(data.reads)), "one reading a picture"
    assert len(piece.crop_index) == len(piece.class_index) == piece.step_pairs == 8
    assert piece.pixel_values.shape == (len(data.reads), 3, 32, 32)
    for row, (crop, word) in enumerate(zip(piece.crop_index.tolist(), piece.class_index.tolist(), strict=True)):
        index = int(piece.keys[crop].removeprefix("square-"))
        if word in data.shown(index):
            assert 0.05 < piece.target[row].mean() < 0.3
        else:
            assert piece.target[row].max() == 0
    assert (piece.target.amax(dim=(1, 2)) == 0).sum() == 2
    present = piece.target.amax(dim=(1, 2)) > 0
    assert piece.weight[present][:, 0].max() < 1, "the ignored row counts less"


def test_flips_turn_picture_and_mask_together() -> None:
    data = Squares()
    piece = made(pieces(data, absent=0.0), 0)
    seen = 0
    for crop, key in enumerate(piece.keys):
        index = int(key.removeprefix("square-"))
        straight = preprocess(Image.fromarray(data.image(index)), SPEC)
        flipped = not np.array_equal(piece.pixel_values[crop].numpy(), straight)
        seen += flipped
        if flipped:
            assert np.array_equal(piece.pixel_values[crop].numpy(), straight[:, :, ::-1])
        for row in torch.nonzero(piece.crop_index == crop)[:, 0].tolist():
            cells = mask_cells(data.mask(index, int(piece.class_index[row])), 16)[0]
            assert np.array_equal(piece.target[row].numpy(), cells[:, ::-1] if flipped else cells)
    assert 0 < seen < len(piece.keys)


def test_processes_and_micro_batches_hold_the_whole_step() -> None:
    whole = made(pieces(batch=9), 2)
    parts = [
        made(pieces(batch=3, rank=rank, processes=2, accumulate=3), 2 * 3 + at) for at in range(3) for rank in (0, 1)
    ]
    for name in ("pixel_values", "class_index", "target", "weight"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert {part.step_pairs for part in parts} == {whole.step_pairs}
    empty = [made(pieces(batch=2, absent=0.0, rank=rank, processes=6), 0) for rank in range(6)]
    assert [len(part.crop_index) for part in empty].count(0) >= 4
    assert {part.target.shape[1:] for part in empty} == {(16, 16)}


def test_bad_pictures_and_masks_are_named() -> None:
    class Broken(Squares):
        def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
            return super().mask(index, class_id)[:-1]

    class Grey(Squares):
        def image(self, index: int) -> NDArray[np.uint8]:
            return super().image(index)[..., 0]

    for data, says in ((Broken(), "same height and width"), (Grey(), "(H, W, 3) uint8")):
        config = TrainConfig(batch=8, steps=4, absent=0.25)
        failed = Pieces(tiny_fold(data), Plan(tiny_fold(data), config), SPEC, 16, strict=True)[0]
        assert isinstance(failed, Failed) and says in failed.message and "square-" in failed.message


def test_loss_without_ignored_cells_is_the_plain_one() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(3, 8, 8), (torch.rand(3, 32, 32) > 0.5).float()
    target = adaptive_avg_pool2d(masks, (8, 8))
    weight = torch.ones_like(target)
    entropy = mask_loss(logits, target, weight, dice=0).mean()
    torch.testing.assert_close(entropy, binary_cross_entropy_with_logits(logits, target))
    dice = mask_loss(logits, target, weight, dice=0.5).mean() - entropy
    p, t = logits.sigmoid(), target
    by_hand = 1 - (2 * (p * t).sum(dim=(1, 2)) + 1) / (p.sum(dim=(1, 2)) + t.sum(dim=(1, 2)) + 1)
    torch.testing.assert_close(dice, 0.5 * by_hand.mean())


def test_ignored_cells_leave_the_loss() -> None:
    torch.manual_seed(0)
    logits, target, weight = torch.randn(2, 8, 8), torch.rand(2, 8, 8), torch.ones(2, 8, 8)
    weight[0, :4] = 0
    weight[1] = 0
    wild = logits.clone()
    wild[0, :4] += 100
    assert torch.equal(mask_loss(logits, target, weight), mask_loss(wild, target, weight))
    assert mask_loss(logits, target, weight)[1] == 0
    half = mask_loss(logits[:1, 4:], target[:1, 4:], weight[:1, 4:])
    torch.testing.assert_close(mask_loss(logits, target, weight)[:1], half)


def test_empty_masks_can_be_right() -> None:
    empty, ones = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    assert mask_loss(empty - 20, empty, ones).item() == pytest.approx(0, abs=1e-4)
    assert mask_loss(empty + 20, empty, ones).item() > 10
