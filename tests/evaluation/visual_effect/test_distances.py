from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics.fid import get_fid_score
from scipy.linalg import sqrtm
from scipy.stats import wasserstein_distance

from medstyle_gan.evaluation.references import foreground_quantiles
from medstyle_gan.evaluation.visual_effect import (
    frechet_distance,
    gram_distance,
    intensity_distance,
    kernel_distance,
)


def features(count: int, size: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, size, generator=rng) @ torch.randn(size, size, generator=rng)
    return mixed + shift


def test_frechet_distance_is_monais_and_scipys():
    one, other = features(60, 6, 0), features(80, 6, 1, shift=0.5)
    ours = frechet_distance(one, other)
    assert ours == pytest.approx(float(get_fid_score(one.double(), other.double())), rel=1e-4)
    mean = (one.double().mean(0) - other.double().mean(0)).numpy()
    covariances = [np.cov(x.double().numpy(), rowvar=False) for x in (one, other)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = mean @ mean + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert ours == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.25, 3.0])
def test_frechet_distance_of_shifted_features_is_the_square_of_the_shift(shift: float):
    one = features(50, 4, 0)
    assert frechet_distance(one + shift, one) == pytest.approx(4 * shift**2, abs=1e-4)


def test_frechet_distance_bears_fewer_images_than_features():
    assert np.isfinite(frechet_distance(features(5, 32, 0), features(7, 32, 1)))


def unbiased_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def without_diagonal(k):
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    return without_diagonal(kernel(x, x)) + without_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean()


def test_kernel_distance_of_equal_numbers_is_the_unbiased_estimate():
    one, other = features(30, 5, 2) / 3, features(30, 5, 3, shift=0.4) / 3
    expected = unbiased_discrepancy(one.double().numpy(), other.double().numpy())
    assert kernel_distance(one, other) == pytest.approx(expected, rel=1e-4)


def test_kernel_distance_of_unequal_numbers_is_seeded_and_leaves_the_random_state():
    one, other = features(12, 5, 2), features(40, 5, 3)
    before = torch.random.get_rng_state()
    first = kernel_distance(one, other, seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first == kernel_distance(one, other, seed=4) != kernel_distance(one, other, seed=5)


def test_gram_distance_is_a_share_of_the_styles_own():
    rng = torch.Generator().manual_seed(0)
    target = {name: torch.rand(3, 3, generator=rng) for name in ("a", "b")}
    # A layer whose matrix is k times the style's is (k - 1)² away, whatever its size.
    grams = {"a": 1.5 * target["a"], "b": 3 * target["b"]}
    assert gram_distance(grams, target) == pytest.approx((0.25 + 4) / 2, rel=1e-5)


def test_gram_distance_of_nothing_is_one_and_of_itself_zero():
    gram = {"a": torch.eye(3), "b": torch.full((2, 2), 5.0)}
    assert gram_distance(gram, gram) == 0
    nothing = {layer: torch.zeros_like(g) for layer, g in gram.items()}
    assert gram_distance(nothing, gram) == pytest.approx(1)


def test_intensity_distance_is_scipys_wasserstein(rng):
    one, other = rng.normal(0, 0.3, 4000), rng.gamma(2.0, 0.2, 5000)
    everywhere = np.ones(4000, bool), np.ones(5000, bool)
    ours = intensity_distance(
        foreground_quantiles(one, everywhere[0]), foreground_quantiles(other, everywhere[1])
    )
    assert ours == pytest.approx(wasserstein_distance(one, other), rel=0.01)


def test_intensity_distance_of_a_shift_is_the_shift(rng):
    quantiles = np.sort(rng.normal(size=1001))
    assert intensity_distance(quantiles + 0.3, quantiles) == pytest.approx(0.3)
