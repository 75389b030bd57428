from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from medstyle_gan.data.local_alignment import LocalCorrelation, align_locally, warped

SHAPE, SPACING = (40, 44, 16), (2.0, 2.0, 3.0)


def _texture(seed: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), (2, 2, 1.4))
    return (noise / np.abs(noise).max()).astype(np.float32)


def _places() -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")).astype(float)


def _bump() -> np.ndarray:
    """(3, X, Y, Z), a smooth displacement of up to 5 mm along X and 3 mm along Y (mm)."""
    distance = sum(
        ((place - n / 2) / (n / 4)) ** 2 for place, n in zip(_places(), SHAPE, strict=True)
    )
    rise = np.exp(-distance)
    return np.stack([5 * rise, -3 * rise, 0 * rise])


def _moved(fixed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What `truth` brings back: by the inverse of a small smooth displacement, by fixed points."""
    steps = np.array(SPACING).reshape(3, 1, 1, 1)
    inverse = np.zeros_like(truth)
    for _ in range(20):
        there = _places() + inverse / steps
        inverse = -np.stack([map_coordinates(t, there, order=1, mode="nearest") for t in truth])
    return map_coordinates(fixed, _places() + inverse / steps, order=3, mode="nearest")


def test_correlation_is_that_of_each_window() -> None:
    a, b = _texture(0)[:9, :8, :6], _texture(1)[:9, :8, :6]
    weight = np.random.default_rng(2).random(a.shape).astype(np.float32)
    x, y, w = (torch.from_numpy(v)[None, None] for v in (a, b, weight))
    found = LocalCorrelation(x, w, (5, 5, 3))(y)
    expected = np.zeros(a.shape)
    for place in np.ndindex(a.shape):
        part = tuple(slice(max(p - h, 0), p + h + 1) for p, h in zip(place, (2, 2, 1), strict=True))
        u, v, share = (z[part].ravel().astype(float) for z in (a, b, weight))
        covariance = np.cov(u, v, aweights=share, ddof=0)
        expected[place] = covariance[0, 1] ** 2 / (
            (covariance[0, 0] + 1e-3) * (covariance[1, 1] + 1e-3)
        )
    assert float(found) == pytest.approx(np.average(expected, weights=weight), rel=1e-3)


def test_warping_is_scipys() -> None:
    values, displacement = _texture(3), _bump()
    found = warped(
        torch.from_numpy(values)[None, None],
        torch.from_numpy(displacement.astype(np.float32))[None],
        SPACING,
    )
    places = _places() + displacement / np.array(SPACING).reshape(3, 1, 1, 1)
    expected = map_coordinates(values, places, order=1, mode="nearest")
    inner = tuple(slice(4, -4) for _ in range(3))
    assert np.allclose(found[0, 0].numpy()[inner], expected[inner], atol=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_finds_a_smooth_displacement_whatever_the_contrast(sign: int) -> None:
    fixed, truth = _texture(4), _bump()
    moving = _moved(fixed, truth)
    body = np.zeros(SHAPE, bool)
    body[5:-5, 5:-5, 2:-2] = True
    found = align_locally(fixed, (sign * 0.7 * moving).astype(np.float32), body, SPACING)
    before = np.linalg.norm(truth, axis=0)[body].mean()
    after = np.linalg.norm(found - truth, axis=0)[body].mean()
    assert after < 0.5 * before
    again = align_locally(fixed, (sign * 0.7 * moving).astype(np.float32), body, SPACING)
    assert np.array_equal(found, again)


def test_an_expectation_alone_shows_the_way() -> None:
    expected, truth = _texture(6), _bump() / 2
    moving = _moved(expected, truth)
    body = np.zeros(SHAPE, bool)
    body[5:-5, 5:-5, 2:-2] = True
    flat = np.zeros(SHAPE, np.float32)  # a scan without any edge
    found = align_locally(flat, moving.astype(np.float32), body, SPACING, expected)
    before = np.linalg.norm(truth, axis=0)[body].mean()
    after = np.linalg.norm(found - truth, axis=0)[body].mean()
    assert after < 0.6 * before


def test_a_thin_volume_can_be_aligned() -> None:
    thin = np.ascontiguousarray(_texture(6)[..., :6])
    found = align_locally(thin, thin, np.ones(thin.shape, bool), SPACING)
    assert found.shape == (3, *thin.shape)
    assert np.abs(found).mean() < 0.5 * min(SPACING)
