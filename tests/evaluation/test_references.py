from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from skimage.exposure import match_histograms

from medstyle_gan.data.intensity_map import LEVELS, IntensityMap
from medstyle_gan.evaluation import REFERENCES, fit_references
from medstyle_gan.evaluation.references import (
    REFERENCE_NAMES,
    REGISTERED_MAP,
    StyleIntensities,
    foreground_quantiles,
    style_intensities,
)


@pytest.fixture
def style_volumes(rng):
    return [rng.gamma(2.0, 0.2, (20, 20, 6)).clip(0, 2) - 1 for _ in range(3)]


@pytest.fixture
def intensities(style_volumes) -> StyleIntensities:
    everywhere = np.ones((20, 20, 6), bool)
    return StyleIntensities(
        np.stack([foreground_quantiles(volume, everywhere) for volume in style_volumes])
    )


@pytest.fixture
def scan(rng) -> np.ndarray:
    return rng.uniform(-0.9, 0.6, (20, 20, 6)).astype(np.float32)


@pytest.fixture
def foreground() -> np.ndarray:
    foreground = np.zeros((20, 20, 6), bool)
    foreground[3:17, 4:18] = True
    return foreground


def test_doing_nothing_keeps_unit_values(intensities, scan, foreground) -> None:
    assert np.array_equal(REFERENCES["doing_nothing"](intensities)(scan, foreground), scan)


def test_histogram_matching_agrees_with_skimage(
    intensities, style_volumes, scan, foreground
) -> None:
    matched = REFERENCES["histogram_matching"](intensities)(scan, foreground)
    pooled = np.concatenate([volume.ravel() for volume in style_volumes])
    expected = match_histograms(scan[foreground], pooled)
    # Apart from the thin tail, where one rank is a long way.
    difference = np.abs(matched[foreground] - expected)
    assert np.percentile(difference, 98) < 0.01
    assert wasserstein_distance(matched[foreground], pooled) < 0.01


def test_histogram_matching_keeps_order_and_background(intensities, scan, foreground) -> None:
    matched = REFERENCES["histogram_matching"](intensities)(scan, foreground)
    order = np.argsort(scan[foreground])
    assert (np.diff(matched[foreground][order]) >= 0).all()
    assert np.array_equal(matched[~foreground], scan[~foreground])


def test_histogram_matching_of_style_to_itself_changes_nothing(style_volumes) -> None:
    own = style_volumes[0].astype(np.float32)
    everywhere = np.ones(own.shape, bool)
    only = StyleIntensities(foreground_quantiles(own, everywhere)[None])
    matched = REFERENCES["histogram_matching"](only)(own, everywhere)
    assert np.abs(matched - own).mean() < 0.003


def test_percentile_matching_meets_the_typical_percentiles_linearly(
    intensities, style_volumes, scan, foreground
) -> None:
    matched = REFERENCES["percentile_matching"](intensities)(scan, foreground)
    expected = np.median([np.percentile(v, (2, 98)) for v in style_volumes], axis=0)
    np.testing.assert_allclose(np.percentile(matched[foreground], (2, 98)), expected, atol=0.02)
    free = (matched > -1) & (matched < 1)
    slope, start = np.polyfit(scan[free], matched[free], 1)
    np.testing.assert_allclose(matched[free], slope * scan[free] + start, atol=1e-4)
    assert slope > 0


def test_each_volume_counts_the_same_whatever_its_size() -> None:
    small, large = np.linspace(-1, 0, 50), np.linspace(0, 1, 5000)
    style = StyleIntensities(
        np.stack([foreground_quantiles(v, np.ones(v.shape, bool)) for v in (small, large)])
    )
    assert np.median(style.pooled) == pytest.approx(0, abs=0.01)


def test_references_are_fitted_to_the_foreground_of_a_collection(style, config) -> None:
    measured = style_intensities(style, config.data.plane)
    assert measured.quantiles.shape == (2, 1001)
    # Much of a phantom is air at about -1, but hardly any of its head.
    volumes = np.concatenate([v.slices.ravel() for v in style])
    assert np.percentile(volumes, 35) < -0.85
    assert np.percentile(measured.pooled, 35) > -0.6
    assert set(fit_references(style, config.data.plane)) == set(REFERENCES)


def test_the_learned_map_acts_in_the_body_alone(style, config, scan, foreground) -> None:
    learned = IntensityMap.read(np.linspace(1, -1, LEVELS).tolist())
    references = fit_references(style, config.data.plane, learned)
    assert list(references) == list(REFERENCE_NAMES)
    mapped = references[REGISTERED_MAP](scan, foreground)
    np.testing.assert_allclose(mapped[foreground], -scan[foreground], atol=1e-6)
    assert np.array_equal(mapped[~foreground], scan[~foreground])
