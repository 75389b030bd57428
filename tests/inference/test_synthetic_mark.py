from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.inference.synthetic_mark import mark_synthetic, quiet_corner


@pytest.mark.parametrize("size", [(512, 512), (96, 128), (24, 24), (12, 9), (4, 4)])
@pytest.mark.parametrize("colours", [(), (3,)])
def test_the_label_is_readable_small_and_the_same_in_each_picture(
    size: tuple[int, int], colours: tuple[int, ...]
) -> None:
    pictures = [np.full((*size, *colours), grey, np.uint8) for grey in (90, 160)]
    marked = mark_synthetic(pictures, np.zeros(size))
    assert [p.shape for p in marked] == [p.shape for p in pictures]
    there = np.zeros(size, bool)
    for before, after in zip(pictures, marked, strict=True):
        there |= (after != before).reshape(*size, -1).any(axis=-1)
    assert there.any()
    np.testing.assert_array_equal(marked[0][there], marked[1][there])
    np.testing.assert_array_equal(marked[0][~there], pictures[0][~there])
    if min(size) > 90:
        assert there.mean() < 0.08
        label = marked[0][there]
        assert label.min() < 30
        assert label.max() > 220
    assert pictures[0].max() == 90  # the given one stays


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_it_stands_where_there_is_no_anatomy(row: int, column: int) -> None:
    anatomy = np.random.default_rng(0).normal(size=(60, 80))
    anatomy[row * 30 : row * 30 + 30, column * 40 : column * 40 + 40] = -1
    box = quiet_corner(anatomy, 10, 25)
    assert (box.top, box.left) == (row * 50, column * 55)
    part = anatomy[box.top : box.top + box.height, box.left : box.left + box.width]
    assert np.ptp(part) == 0
