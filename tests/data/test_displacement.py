from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter, map_coordinates

from medstyle_gan.data.displacement import composed, displaced, displacement_of

SHAPE, SPACING = (30, 26, 16), (2.0, 1.5, 3.0)
# Where the border is not seen.
INNER = (slice(None), *(slice(6, -6),) * 2, slice(4, -4))


def _places() -> np.ndarray:
    """(3, X, Y, Z) in mm."""
    axes = [np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def _smooth(seed: int, largest: float) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((3, *SHAPE))
    bent = np.stack([gaussian_filter(n, 3) for n in noise])
    return (largest * bent / np.abs(bent).max()).astype(np.float32)


def _looked_up(values: np.ndarray, places: np.ndarray, order: int) -> np.ndarray:
    """By SciPy, at places in mm."""
    return map_coordinates(
        values, places / np.array(SPACING).reshape(3, 1, 1, 1), order=order, mode="nearest"
    )


def test_a_transform_leads_where_its_matrix_does() -> None:
    transform = sitk.AffineTransform(3)
    turn = np.array([[0.9, 0.2, 0], [-0.1, 1.1, 0.05], [0, 0, 1.2]])
    transform.SetMatrix(turn.ravel().tolist())
    transform.SetTranslation((3.0, -2.0, 5.0))
    places = _places()
    expected = np.einsum("ij,jxyz->ixyz", turn, places) - places
    expected += np.array([3.0, -2.0, 5.0]).reshape(3, 1, 1, 1)
    found = displacement_of(transform, SHAPE, SPACING)
    assert found.shape == (3, *SHAPE)
    assert np.allclose(found, expected, atol=1e-3)


def test_the_second_goes_on_from_where_the_first_has_led() -> None:
    first, second = _smooth(0, 5.0), _smooth(1, 5.0)
    there = _places() + first
    expected = first + np.stack([_looked_up(axis, there, 1) for axis in second])
    assert np.allclose(composed(first, second, SPACING)[INNER], expected[INNER], atol=1e-3)


def test_beyond_the_border_the_second_is_as_at_it() -> None:
    away = np.full((3, *SHAPE), 100.0, np.float32)
    second = _smooth(2, 5.0)
    corner = second[:, -1, -1, -1].reshape(3, 1, 1, 1)
    assert np.allclose(composed(away, second, SPACING), 100 + corner, atol=1e-3)


@pytest.mark.parametrize(("cubic", "order"), [(True, 3), (False, 1)])
def test_values_are_those_of_scipys_splines(cubic: bool, order: int) -> None:
    values = _smooth(3, 1.0)[0]
    displacement = _smooth(4, 4.0)
    found = displaced(values, SPACING, displacement, SPACING, 0.0, cubic=cubic)
    expected = _looked_up(values, _places() + displacement, order)
    assert np.allclose(found[INNER[1:]], expected[INNER[1:]], atol=2e-3)


def test_another_grid_is_reached_in_mm_and_what_is_beyond_is_filled() -> None:
    values = (_places()[0] / 60).astype(np.float32)  # rises along X, 1 at 60 mm
    onto = (4.0, 4.0, 4.0)
    shift = np.zeros((3, 6, 5, 4), np.float32)
    shift[0] = 3.0
    found = displaced(values, SPACING, shift, onto, -1.0, cubic=False)
    assert found.shape == (6, 5, 4)
    expected = (np.arange(6) * 4.0 + 3.0) / 60
    assert np.allclose(found, np.broadcast_to(expected[:, None, None], found.shape), atol=1e-5)
    shift[0] = 100.0
    assert np.all(displaced(values, SPACING, shift, onto, -1.0, cubic=True) == -1.0)


def test_a_cubic_keeps_fine_details_and_the_range() -> None:
    """Half-way between voxels, of a wave of four voxels linear keeps cos(pi/4), a cubic most."""
    x = np.arange(SHAPE[0])
    wave = np.broadcast_to(np.cos(np.pi / 2 * x)[:, None, None], SHAPE).astype(np.float32)
    half = np.zeros((3, *SHAPE), np.float32)
    half[0] = 0.5 * SPACING[0]
    truth = np.cos(np.pi / 2 * (x + 0.5))[8:-8, None, None]
    kept = {
        cubic: float(
            (displaced(wave, SPACING, half, SPACING, 0.0, cubic=cubic)[8:-8] * truth).mean()
            / (truth**2).mean()
        )
        for cubic in (True, False)
    }
    assert kept[False] == pytest.approx(np.cos(np.pi / 4), abs=1e-3)
    assert kept[True] > 0.93
    steps = np.where(x < 15, -1.0, 1.0)
    edge = np.broadcast_to(steps[:, None, None], SHAPE).astype(np.float32)
    found = displaced(edge, SPACING, half, SPACING, -1.0, cubic=True)
    assert -1.0 <= found.min() <= found.max() <= 1.0


@pytest.mark.parametrize("axis", range(3))
def test_of_two_voxels_along_an_axis_a_line_is_told(axis: int) -> None:
    values = np.ascontiguousarray(_smooth(5, 1.0)[0].take([7, 8], axis=axis))
    away = np.zeros((3, *values.shape), np.float32)
    away[axis] = 0.45 * SPACING[axis]
    cubic, linear = (
        displaced(values, SPACING, away, SPACING, -1.0, cubic=cubic) for cubic in (True, False)
    )
    first, second = (values.take(i, axis=axis) for i in (0, 1))
    assert np.allclose(cubic.take(0, axis=axis), 0.55 * first + 0.45 * second, atol=1e-5)
    assert np.array_equal(cubic, linear)
