from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import wasserstein_distance

from medstyle_gan.evaluation import sliced_wasserstein_distance
from medstyle_gan.evaluation.distribution import _distance


def images(seed: int, mean: float = 0.0, deviation: float = 0.2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(4, 1, 32, 32, generator=generator)
    picture = (mean + deviation * noise).clamp(-1, 1)
    picture[:, :, :8] = -1  # air
    return picture


def test_one_projection_is_scipys_wasserstein_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(3000, 1, generator=generator)
    second = 0.5 + 2 * torch.randn(2000, 1, generator=generator)
    expected = wasserstein_distance(first[:, 0].numpy(), second[:, 0].numpy())
    assert float(_distance(first, second)) == pytest.approx(expected, rel=0.03)


def test_same_images_are_at_no_distance() -> None:
    assert sliced_wasserstein_distance(images(0), images(0)) < 0.02


def test_distance_is_small_for_other_images_alike_and_grows_with_the_difference() -> None:
    alike = sliced_wasserstein_distance(images(1), images(2))
    brighter = sliced_wasserstein_distance(images(1, mean=0.2), images(2))
    brightest = sliced_wasserstein_distance(images(1, mean=0.4), images(2))
    rougher = sliced_wasserstein_distance(images(1, deviation=0.35), images(2))
    assert alike < 0.05
    assert 3 * alike < brighter < brightest
    assert rougher > 2 * alike


def test_a_shift_of_all_pixels_is_measured_in_intensity() -> None:
    flat, shifted = torch.zeros(2, 1, 32, 32), torch.full((2, 1, 32, 32), 0.25)
    # |N(0, 1)| has mean sqrt(2/pi), and 49 pixels add up in a direction of unit length.
    expected = 0.25 * math.sqrt(2 / math.pi)
    assert sliced_wasserstein_distance(shifted, flat) == pytest.approx(expected, rel=0.15)


def test_air_does_not_count() -> None:
    air = torch.full((4, 1, 64, 32), -1.0)
    some, much = (torch.cat([air[:, :, :rows], images(0)], dim=2) for rows in (16, 64))
    distance = sliced_wasserstein_distance(some, images(1))
    assert sliced_wasserstein_distance(much, images(1)) == pytest.approx(distance, abs=0.01)


def test_same_seed_same_figure() -> None:
    figures = {sliced_wasserstein_distance(images(0), images(1), seed=3) for _ in range(2)}
    assert len(figures) == 1


def test_translations_without_a_body_are_infinitely_far() -> None:
    assert sliced_wasserstein_distance(torch.full((2, 1, 32, 32), -1.0), images(0)) == math.inf


@pytest.mark.parametrize(
    ("style", "message"),
    [
        (torch.zeros(2, 3, 32, 32), "channels"),
        (torch.zeros(2, 1, 10, 32), "too small"),
        (torch.full((2, 1, 32, 32), -1.0), "no body"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(style, message) -> None:
    with pytest.raises(ValueError, match=message):
        sliced_wasserstein_distance(images(0), style)


def volumes(seed: int, mean: float = 0.0, size: tuple[int, ...] = (16, 18, 20)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, 1, *size, generator=generator)
    volume = (mean + 0.2 * noise).clamp(-1, 1)
    volume[:, :, :4] = -1  # air
    return volume


def test_volumes_are_compared_by_the_slices_of_all_planes() -> None:
    ours, real = volumes(1, mean=0.2), volumes(2)
    axial, coronal, sagittal = (
        [v.permute(0, kept, 1, *plane).flatten(0, 1) for v in (ours, real)]
        for kept, plane in ((4, (2, 3)), (3, (2, 4)), (2, (3, 4)))
    )
    each = [sliced_wasserstein_distance(*pair) for pair in (axial, coronal, sagittal)]
    assert sliced_wasserstein_distance(ours, real) == pytest.approx(sum(each) / 3)
    assert sliced_wasserstein_distance(ours, real) > 3 * sliced_wasserstein_distance(real, real)


def test_planes_too_small_for_patches_are_left_out() -> None:
    ours, real = (volumes(seed, 0.1 * seed, (20, 24, 4)) for seed in (1, 2))
    axial = [v.permute(0, 4, 1, 2, 3).flatten(0, 1) for v in (ours, real)]
    assert sliced_wasserstein_distance(ours, real) == sliced_wasserstein_distance(*axial)
    with pytest.raises(ValueError, match="too small"):
        sliced_wasserstein_distance(ours[:, :, :12], real[:, :, :12])
