from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.evaluation import adjacent_slice_difference, slice_consistency

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
SHAPE = (7, 6, 8)
ALL = np.ones(SHAPE, bool)


def ramp(axis: int, slope: float) -> np.ndarray:
    """Rises by `slope` from slice to slice, and by more within them."""
    steps = [slope if a == axis else 3.0 for a in range(3)]
    return sum(s * g for s, g in zip(steps, np.indices(SHAPE), strict=True))


@pytest.mark.parametrize("plane", PLANES)
def test_a_ramp_differs_by_its_slope(plane: str) -> None:
    array = ramp(PLANES[plane], -0.25)
    assert adjacent_slice_difference(array, ALL, plane) == pytest.approx(0.25)


@pytest.mark.parametrize("plane", PLANES)
def test_flicker_of_known_size_is_measured(plane: str) -> None:
    # Every other slice is brighter by 0.6: up and down, on a slope of 0.2, is 0.8 and 0.4.
    axis = PLANES[plane]
    array = ramp(axis, 0.2) + 0.6 * (np.indices(SHAPE)[axis] % 2)
    up, down = SHAPE[axis] // 2, (SHAPE[axis] - 1) // 2
    expected = (0.8 * up + 0.4 * down) / (up + down)
    assert adjacent_slice_difference(array, ALL, plane) == pytest.approx(expected)
    style = [(ramp(axis, 0.2), ALL), (ramp(axis, 0.4), ALL)]
    assert slice_consistency((array, ALL), style, plane) == pytest.approx(expected / 0.3)


def test_only_voxels_of_the_body_in_both_slices_count() -> None:
    array, mask = ramp(2, 0.2), np.zeros(SHAPE, bool)
    mask[2:5, 2:4, 1:4] = True
    mask[2, 2, 6] = True  # alone: no neighbour in the body
    array[~mask] = 1e6
    assert adjacent_slice_difference(array, mask) == pytest.approx(0.2)


def test_blur_is_below_one_and_a_real_volume_is_one() -> None:
    real = np.random.default_rng(0).normal(size=SHAPE)
    assert slice_consistency((real, ALL), [(real, ALL)]) == pytest.approx(1.0)
    assert slice_consistency((real / 2, ALL), [(real, ALL)]) == pytest.approx(0.5)


def test_nothing_to_compare_is_an_error() -> None:
    single = np.zeros(SHAPE, bool)
    single[:, :, 3] = True
    with pytest.raises(ValueError, match="adjacent"):
        adjacent_slice_difference(np.zeros(SHAPE), single)
    for style in ([], [(np.zeros(SHAPE), ALL)]):
        with pytest.raises(ValueError, match="nothing to compare"):
            slice_consistency((ramp(2, 1.0), ALL), style)
