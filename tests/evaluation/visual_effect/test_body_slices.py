from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.evaluation.visual_effect import body_positions, body_slices


@pytest.fixture
def mask() -> np.ndarray:
    body = np.zeros((10, 12, 20), bool)
    body[2:8, 3:11, 4:16] = True
    body[4, 5, 16:18] = True  # hardly any body
    return body


@pytest.mark.parametrize("count", [1, 3, 5, 12, 50])
def test_positions_are_spread_over_slices_that_show_the_body(mask, count: int):
    positions = body_positions(mask, "axial", count)
    assert positions == sorted(set(positions))
    assert len(positions) == min(count, 12)
    assert min(positions) >= 4
    assert max(positions) <= 15
    assert np.mean(positions) == pytest.approx(9.5, abs=0.51)


@pytest.mark.parametrize(
    ("plane", "size"), [("axial", (6, 8)), ("coronal", (6, 14)), ("sagittal", (8, 14))]
)
def test_slices_are_the_bodys_box_and_black_around_it(mask, plane: str, size: tuple[int, int]):
    array = np.random.default_rng(0).uniform(-0.9, 1.5, mask.shape).astype(np.float32)
    images, inside = body_slices(array, mask, plane, [5, 6])
    assert images.shape == inside.shape == (2, *size)
    assert (images[~inside] == -1).all()
    assert images.max() == 1  # clipped
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    whole, body = np.take(array, 5, axis), np.take(mask, 5, axis)
    assert np.array_equal(images[0][inside[0]], whole[body].clip(-1, 1))
