from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.evaluation.interpretability import intensity_map, most_unexplained, unexplained
from medstyle_gan.evaluation.interpretability.intensity_map import EDGES
from medstyle_gan.evaluation.interpretability.plots import mean_map


@pytest.fixture
def scan(rng) -> np.ndarray:
    return rng.uniform(-1, 1, (24, 20, 10)).astype(np.float32)


def everywhere(array: np.ndarray) -> np.ndarray:
    return np.ones(array.shape, bool)


@pytest.mark.parametrize("curve", [lambda x: x, lambda x: -x, lambda x: 0.5 * x**2 - 0.3])
def test_a_map_of_intensities_is_its_curve_and_explains_all(scan, curve):
    of = intensity_map(scan, curve(scan), everywhere(scan))
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    assert of.mean == pytest.approx(curve(middles), abs=0.02)
    assert of.explained > 0.995
    assert of.counts.sum() == scan.size


def test_noise_is_explained_by_nothing(scan, rng):
    noise = rng.normal(0, 0.3, scan.shape).astype(np.float32)
    of = intensity_map(scan, noise, everywhere(scan))
    assert of.explained < 0.05
    assert np.nanmean(of.deviation) == pytest.approx(0.3, rel=0.05)


def test_what_is_explained_is_the_share_of_variance(scan, rng):
    noise = rng.normal(0, np.sqrt(1 / 3), scan.shape)  # of the variance of a uniform scan
    of = intensity_map(scan, (scan + noise) / 4, everywhere(scan))
    assert of.explained == pytest.approx(0.5, abs=0.04)


def test_only_the_mask_counts(scan):
    mask = scan > 0
    of = intensity_map(scan, np.where(mask, scan, 1.0), mask)
    assert np.isnan(of.mean[:32]).all()
    assert of.explained > 0.99
    with pytest.raises(ValueError, match="empty"):
        intensity_map(scan, scan, scan > 2)


def test_a_constant_translation_has_nothing_to_explain(scan):
    assert np.isnan(intensity_map(scan, np.zeros_like(scan), everywhere(scan)).explained)


def test_the_histogram_is_numpys(scan, rng):
    made = rng.uniform(-1, 1, scan.shape).astype(np.float32)
    expected, _, _ = np.histogram2d(scan.ravel(), made.ravel(), bins=[EDGES, EDGES])
    assert np.abs(intensity_map(scan, made, everywhere(scan)).counts - expected).sum() <= 4


def test_maps_together_are_the_map_of_all_voxels(scan, rng):
    made = (0.5 * scan + rng.normal(0, 0.1, scan.shape)).astype(np.float32)
    halves = [scan < 0.3, scan >= 0.3]
    together = mean_map([intensity_map(scan, made, half) for half in halves])
    whole = intensity_map(scan, made, everywhere(scan))
    assert np.array_equal(together.counts, whole.counts)
    assert together.mean == pytest.approx(whole.mean)
    assert together.deviation == pytest.approx(whole.deviation)
    assert together.explained == pytest.approx(whole.explained)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_what_intensities_do_not_explain_is_found(scan, plane: str):
    translation = -scan
    translation[12:19, 5:12, 2:7] += 0.8
    rest = unexplained(scan, translation, everywhere(scan))
    assert np.abs(rest[12:19, 5:12, 2:7]).mean() > 5 * np.abs(rest[:8]).mean()
    region = most_unexplained(scan, translation, everywhere(scan), plane)
    spans = [region.rows, region.columns]
    spans.insert({"axial": 2, "coronal": 1, "sagittal": 0}[plane], (region.slice, region.slice + 1))
    for (first, last), (begin, end) in zip(spans, [(12, 19), (5, 12), (2, 7)], strict=True):
        assert begin < (first + last) / 2 <= end
