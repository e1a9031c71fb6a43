"""The pixels' features at the logits' resolution, and the cosine below them."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from clsclip.detail import CHANNELS, CosineResidual, Detail, straight_lines
from tests.tiny import tiny_model


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_features_have_the_resolution_of_the_logits_and_stay_in_place(stride: int) -> None:
    torch.manual_seed(0)
    detail = Detail(stride)
    pixels = torch.zeros(2, 3, 48, 48)
    with torch.no_grad():
        before = detail(pixels)
        assert before.shape == (2, 48 // stride, 48 // stride, CHANNELS)
        pixels[1, :, 20:24, 28:32] = 1
        moved = (detail(pixels) - before).abs().amax(dim=-1)
    assert moved[0].max() == 0
    rows, columns = (moved[1] > 0.5 * moved[1].max()).nonzero(as_tuple=True)
    assert abs(stride * (rows.float().mean() + 0.5) - 22) < 3 * stride
    assert abs(stride * (columns.float().mean() + 0.5) - 30) < 3 * stride


@pytest.mark.parametrize(("grid", "upscale"), [(1, 4), (4, 1), (5, 2), (14, 4)])
def test_cosines_lie_between_patches_as_bilinear_upsampling_has_them(grid: int, upscale: int) -> None:
    torch.manual_seed(0)
    residual, cosines = CosineResidual(grid, upscale), torch.randn(3, grid * grid)
    with torch.no_grad():
        residual.scale.fill_(2.5)
        residual.shift.fill_(0.75)
        wanted = interpolate(cosines.reshape(3, 1, grid, grid), scale_factor=upscale, mode="bilinear")[:, 0]
        torch.testing.assert_close(residual(cosines), 2.5 * (10 * wanted - 0.75), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(straight_lines(grid, upscale).sum(dim=1), torch.ones(grid * upscale))


def test_the_mask_follows_the_pixels_within_a_patch() -> None:
    """A pixel of one patch changes that patch's cells in different ways: what a grid of patches alone cannot do."""
    model = tiny_model(decoder_inputs=("detail",))
    with torch.no_grad():
        model.decoder.detail.weight.normal_()  # type: ignore[union-attr]
        stem, _, patches, detail = model.encode_image(torch.zeros(1, 3, 32, 32))
        pair = torch.ones(1, 32), torch.tensor([0]), torch.tensor([0])
        before = model.trunk(stem, patches, *pair, detail)
        detail[0, 5, 6] += 1
        changed = (model.trunk(stem, patches, *pair, detail) - before)[0].abs() > 1e-6
    assert changed.nonzero().tolist() == [[5, 6]]
