"""The score without pairs, on translations whose worth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from medstyle_gan.data.phantom import make_phantom
from medstyle_gan.evaluation import sliced_wasserstein_distance
from medstyle_gan.training.selection import (
    distance_of_nothing,
    selection_score,
    structure_lost,
    style_left,
)

SIZE, SLICES = 48, 4


def _unit(volume: np.ndarray) -> Tensor:
    """(N, 1, H, W) in [-1, 1], of the slices in the middle."""
    low, high = np.percentile(volume, (1, 99))
    scaled = np.clip((volume - low) / (high - low), 0, 1) * 2 - 1
    return torch.from_numpy(np.moveaxis(scaled, 2, 0)[2:-2].astype(np.float32))[:, None]


@pytest.fixture(scope="module")
def volumes() -> dict[str, Tensor]:
    """Scans of two subjects with their truths, and the style of two others."""
    ours = [make_phantom(seed, (SIZE, SIZE, SLICES + 4)) for seed in range(2)]
    others = [make_phantom(seed, (SIZE, SIZE, SLICES + 4)) for seed in (10, 11)]
    return {
        "scan": torch.cat([_unit(p.scan) for p in ours]),
        "truth": torch.cat([_unit(p.style) for p in ours]),
        "style": torch.cat([_unit(p.style) for p in others]),
    }


@pytest.fixture(scope="module")
def scores(volumes: dict[str, Tensor]) -> dict[str, float]:
    scan, truth, style = (volumes[name] for name in ("scan", "truth", "style"))
    nothing = distance_of_nothing(scan, style)
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = {
        "truth": truth,
        "nearly the truth": torch.where(truth > -0.9, 0.95 * truth, truth),
        "nothing": scan,
        "moved": truth.roll(4, dims=3),
        "blurred": torch.from_numpy(gaussian_filter(truth.numpy(), (0, 0, 3, 3))),
        "any style image": style,
        "noise": noise,
    }
    return {
        name: selection_score(
            style_left(sliced_wasserstein_distance(x, style), nothing), structure_lost(scan, x)
        )
        for name, x in made.items()
    }


@pytest.mark.parametrize("worse", ["nothing", "moved", "blurred", "any style image", "noise"])
def test_the_truth_has_a_better_score_than_what_fails(scores: dict[str, float], worse: str) -> None:
    assert scores["truth"] > scores[worse] + 0.1
    assert scores["nearly the truth"] > scores[worse]


def test_doing_nothing_keeps_everything_and_is_nowhere_near(
    volumes: dict[str, Tensor], scores: dict[str, float]
) -> None:
    scan = volumes["scan"]
    assert structure_lost(scan, scan) == pytest.approx(0, abs=1e-5)
    assert scores["nothing"] == pytest.approx(-1, abs=1e-4)
    assert scores["any style image"] < -0.5


def test_either_part_alone_would_choose_a_bad_translator(volumes: dict[str, Tensor]) -> None:
    scan, truth, style = (volumes[name] for name in ("scan", "truth", "style"))
    assert structure_lost(scan, scan) < structure_lost(scan, truth)
    distances = [sliced_wasserstein_distance(x, style) for x in (style, truth)]
    assert distances[0] < distances[1]


def test_the_score_is_the_distance_from_wanting_nothing() -> None:
    assert selection_score(0.3, 0.4) == pytest.approx(-0.5)
    assert math.isinf(selection_score(math.inf, 0.0))  # no body is left
    assert style_left(0.02, 0.0) == pytest.approx(2.0)


def test_structure_is_looked_for_in_the_mask_and_in_every_slice_of_a_stack() -> None:
    rng = torch.Generator().manual_seed(0)
    scan, other = torch.rand(2, 3, 24, 24, generator=rng) * 2 - 1, torch.rand(2, 3, 24, 24)
    mask = torch.zeros(2, 3, 24, 24, dtype=torch.bool)
    mask[..., 6:12, 6:12] = True
    kept = torch.where(torch.nn.functional.max_pool2d(mask.float(), 9, 1, 4) > 0, scan, other)
    assert structure_lost(scan, kept, mask, slices=3) == pytest.approx(0, abs=1e-5)
    assert structure_lost(scan, kept, ~mask, slices=3) > 0.3
    assert structure_lost(scan, kept, torch.zeros_like(mask), slices=3) == 1
