"""The guided filter against its definition, solved window by window."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime.masks import refinement
from clsclip_runtime.masks.refinement import GuidedFilter


def slow(colors: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """(4, height, width): mean planes of the windows that hold each pixel, each by least squares with a penalty."""
    height, width = values.shape
    planes = np.zeros((height, width, 4))
    for y in range(height):
        for x in range(width):
            part = (slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1))
            inside = colors[part].reshape(-1, 3)
            wanted = values[part].ravel()
            count = len(wanted)
            # Ridge regression on slopes alone: minimise sum (a.c + b - p)^2 + count * epsilon * a.a
            design = np.concatenate([np.c_[inside, np.ones(count)], np.sqrt(count * epsilon) * np.eye(3, 4)])
            planes[y, x] = np.linalg.lstsq(design, np.concatenate([wanted, np.zeros(3)]), rcond=None)[0]
    means = np.zeros_like(planes)
    for y in range(height):
        for x in range(width):
            part = (slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1))
            means[y, x] = planes[part].reshape(-1, 4).mean(axis=0)
    return np.moveaxis(means, 2, 0)


def test_equals_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refinement, "RADIUS", 6)
    dice = np.random.default_rng(3)
    image = Image.fromarray(dice.integers(0, 256, (19, 24, 3), dtype=np.uint8))
    guided = GuidedFilter(image, (24, 19))
    assert guided.coarse_size == (12, 10)
    values = dice.normal(size=(10, 12)) * 4
    coarse = np.asarray(image.resize((12, 10), Image.Resampling.BILINEAR), np.float64) / 255
    planes = slow(coarse, values, 3, refinement.EPSILON)
    # torch's interpolation is another program's.
    torch = pytest.importorskip("torch")
    stretched = torch.nn.functional.interpolate(
        torch.from_numpy(planes)[None], size=(19, 24), mode="bilinear", align_corners=False
    )[0].numpy()
    fine = np.moveaxis(np.asarray(image, np.float64), 2, 0) / 255
    np.testing.assert_allclose(guided(values), (stretched[:3] * fine).sum(axis=0) + stretched[3], atol=1e-4)


def test_constants_stay() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    guided = GuidedFilter(image, (30, 40))
    np.testing.assert_allclose(guided(np.full((20, 15), -2.5)), -2.5, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 7), (3, 2)])
def test_tiny_images(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (3, 200, 90))
    guided = GuidedFilter(image, size)
    width, height = guided.coarse_size
    assert np.isfinite(guided(np.ones((height, width)))).all()


def test_a_soft_edge_becomes_the_images() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 29:] = 255
    guided = GuidedFilter(Image.fromarray(pixels), (64, 64))
    ramp = np.tile(np.clip((np.arange(32) - 16) / 4, -2, 2), (32, 1))  # crosses zero at pixel 32, not at 29
    found = guided(ramp) > 0
    assert not found[:, :28].any()
    assert found[:, 30:].all()
