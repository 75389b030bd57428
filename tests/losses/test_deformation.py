"""Deforming against scipy's interpolation, and roughness against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medstyle_gan.losses import deformed, roughness

SIZES = [(7, 5), (6, 5, 4)]
each_size = pytest.mark.parametrize("size", SIZES, ids=["2", "3"])


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_size
def test_deforming_is_linear_interpolation_at_displaced_places(size: tuple[int, ...]) -> None:
    images, moves = _random(2, 3, *size), 2 * _random(2, len(size), *size, seed=1)
    found = deformed(images, moves)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"))
    for image, move, ours in zip(images, moves, found, strict=True):
        for channel, mine in zip(image, ours, strict=True):
            wanted = map_coordinates(channel, places + move.numpy(), order=1, mode="nearest")
            np.testing.assert_allclose(mine, wanted, atol=1e-12)


@each_size
def test_whole_pixels_move_and_nothing_stays(size: tuple[int, ...]) -> None:
    images = _random(1, 2, *size)
    still = torch.zeros(1, len(size), *size, dtype=torch.float64)
    torch.testing.assert_close(deformed(images, still), images)
    still[:, 1] = 1.0  # along the second axis alone
    moved = deformed(images, still)
    torch.testing.assert_close(moved[:, :, :, :-1], images[:, :, :, 1:])
    torch.testing.assert_close(moved[:, :, :, -1], images[:, :, :, -1])


def test_gradients_reach_images_and_displacements() -> None:
    images = _random(1, 2, 4, 5).requires_grad_()
    # Kinks are at whole pixels: stay away from them.
    moves = (0.5 + 0.3 * torch.tanh(_random(1, 2, 4, 5, seed=1))).requires_grad_()
    assert torch.autograd.gradcheck(deformed, (images, moves))


def test_half_precision_is_deformed_in_single() -> None:
    made = deformed(torch.ones(1, 1, 4, 4, dtype=torch.bfloat16), torch.zeros(1, 2, 4, 4))
    assert made.dtype == torch.float32


@each_size
def test_roughness_of_a_linear_field_is_its_mean_squared_slope(size: tuple[int, ...]) -> None:
    slopes = _random(len(size), len(size))
    places = torch.stack(torch.meshgrid(*[torch.arange(n) for n in size], indexing="ij")).double()
    linear = torch.einsum("ij,j...->i...", slopes, places) + 7
    torch.testing.assert_close(roughness(linear[None]), slopes.square().mean())
    assert roughness(torch.full((1, len(size), *size), 3.0)) == 0
