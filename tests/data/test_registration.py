from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import affine_transform, gaussian_filter

from medstyle_gan.data.displacement import displaced, displacement_of
from medstyle_gan.data.registration import Anatomy, Registered, register

SHAPE, SPACING = (30, 34, 20), (2.0, 2.0, 3.0)


def _head() -> tuple[np.ndarray, np.ndarray]:
    """Values in [-1, 1] and the body: an ellipsoid with bright and dark parts, no symmetry."""
    x, y, z = np.meshgrid(*[np.linspace(-1.3, 1.3, n) for n in SHAPE], indexing="ij")
    body = (x / 0.8) ** 2 + y**2 + (z / 0.9) ** 2 < 0.8
    values = 0.5 * body
    values[((x - 0.25) / 0.25) ** 2 + ((y + 0.2) / 0.35) ** 2 + (z / 0.4) ** 2 < 1] = 1.0
    values[((x + 0.3) / 0.2) ** 2 + ((y - 0.3) / 0.3) ** 2 + ((z - 0.1) / 0.5) ** 2 < 1] = 0.2
    return (2 * gaussian_filter(values, 0.6) - 1).astype(np.float32), body


def _moved(array: np.ndarray, fill: float) -> np.ndarray:
    """Turned by 8 degrees about S, 8 % larger and shifted by 3 mm."""
    turn = np.deg2rad(8.0)
    matrix = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    centre = (np.array(SHAPE) - 1) / 2
    matrix = matrix / 1.08
    offset = centre - matrix @ (centre + np.array([1.5, -1.5, 1.0]))
    return affine_transform(array, matrix, offset, order=1, cval=fill)


@pytest.fixture(scope="module")
def pair() -> tuple[Anatomy, Anatomy]:
    array, body = _head()
    # Another contrast: bright becomes dark inside the body.
    other = np.where(body, -array * 0.8, -1).astype(np.float32)
    moving = Anatomy(_moved(other, -1.0), _moved(body.astype(np.float32), 0.0) > 0.5, SPACING)
    return Anatomy(array, body, SPACING), moving


@pytest.fixture(scope="module")
def registered(pair: tuple[Anatomy, Anatomy]) -> Registered:
    found = register(*pair, seed=0)
    assert found is not None
    return found


def _warped(registered: Registered, moving: Anatomy) -> np.ndarray:
    displacement = displacement_of(registered.transform, SHAPE, SPACING)
    return displaced(moving.array, moving.spacing, displacement, SPACING, -1.0, cubic=False)


def test_finds_a_turned_larger_and_shifted_body_again(
    pair: tuple[Anatomy, Anatomy], registered: Registered
) -> None:
    fixed, moving = pair
    warped = _warped(registered, moving)
    truth = np.where(fixed.foreground, -fixed.array * 0.8, -1)
    inside = fixed.foreground
    before = np.abs(moving.array - truth)[inside].mean()
    after = np.abs(warped - truth)[inside].mean()
    assert after < 0.5 * before
    assert registered.overlap > 0.93
    assert 0.3 < registered.least_volume < 2
    assert 1 < registered.information <= 2


def test_is_the_same_every_time(pair: tuple[Anatomy, Anatomy], registered: Registered) -> None:
    again = register(*pair, seed=0)
    assert again is not None
    assert np.array_equal(_warped(again, pair[1]), _warped(registered, pair[1]))
    assert again.information == registered.information


def test_grids_may_differ(pair: tuple[Anatomy, Anatomy]) -> None:
    fixed, moving = pair
    thick = Anatomy(moving.array[:, :, ::2], moving.foreground[:, :, ::2], (2.0, 2.0, 6.0))
    found = register(fixed, thick, seed=1)
    assert found is not None
    assert _warped(found, thick).shape == SHAPE
    assert found.overlap > 0.85
