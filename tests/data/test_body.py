from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import find_objects

from medstyle_gan.data.body import block_edges, body_box, body_occupancy


def _mask(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A ragged body away from the borders."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=bool)
    middle = tuple(slice(n // 5, n - n // 4) for n in shape)
    mask[middle] = rng.random(mask[middle].shape) < 0.4
    return mask


@pytest.mark.parametrize("shape", [(30, 22, 17), (9, 12, 40), (8, 8, 1)])
def test_box_is_scipys(shape: tuple[int, int, int]) -> None:
    mask = _mask(shape)
    (expected,) = find_objects(mask.astype(int))
    assert body_box(mask) == tuple((s.start, s.stop - 1) for s in expected)


@pytest.mark.parametrize("shape", [(30, 22, 17), (9, 12, 40), (8, 8, 1)])
def test_blocks_hold_all_of_the_body_each_where_it_is(shape: tuple[int, int, int]) -> None:
    mask = _mask(shape)
    box = body_box(mask)
    occupancy = body_occupancy(mask, box)
    edges = [block_edges(b, n) for b, n in zip(box, occupancy.shape, strict=True)]
    assert max(occupancy.shape) <= 8
    for index in np.ndindex(occupancy.shape):
        block = tuple(slice(e[i], e[i + 1]) for i, e in zip(index, edges, strict=True))
        assert occupancy[index] == pytest.approx(mask[block].mean(), abs=1e-6)
    covered = [(int(e[0]), int(e[-1]) - 1) for e in edges]
    assert tuple(covered) == box
