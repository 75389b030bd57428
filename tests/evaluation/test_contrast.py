from __future__ import annotations

import numpy as np
import pytest
from skimage.exposure import equalize_adapthist

from medstyle_gan.data.phantom import Tissue, make_phantom
from medstyle_gan.evaluation.contrast import (
    adaptive_histogram_equalization,
    contrast_to_noise,
    smoothing,
    tissue_core,
)


def halves(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    first = np.zeros(shape, bool)
    first[: shape[0] // 2] = True
    return first, ~first


@pytest.mark.parametrize(("difference", "noise"), [(3.0, 1.0), (0.5, 2.0)])
def test_ratio_of_known_tissues_in_known_noise(difference: float, noise: float) -> None:
    first, second = halves((60, 60, 40))
    image = np.random.default_rng(0).normal(100, noise, first.shape)
    image[second] += difference
    assert contrast_to_noise(image, first, second) == pytest.approx(difference / noise, rel=0.02)


def test_ratio_by_hand() -> None:
    image = np.array([[1.0, 3.0, 10.0, 16.0]])
    first = np.array([[True, True, False, False]])
    # Variances of the samples are 2 and 18.
    assert contrast_to_noise(image, first, ~first) == pytest.approx(11 / np.sqrt(10))


def test_gain_and_offset_leave_it_and_averaging_raises_it() -> None:
    first, second = halves((40, 40, 10))
    image = np.random.default_rng(1).normal(0, 1, (4, *first.shape)) + second
    one = contrast_to_noise(image[0], first, second)
    assert contrast_to_noise(-3 * image[0] + 7, first, second) == pytest.approx(one)
    averaged = contrast_to_noise(image.mean(axis=0), first, second)
    assert averaged == pytest.approx(2 * one, rel=0.1)


def test_tissues_without_noise() -> None:
    first, second = halves((4, 4, 1))
    assert contrast_to_noise(first.astype(float), first, second) == np.inf
    assert contrast_to_noise(np.zeros(first.shape), first, second) == 0


def test_a_tissue_of_one_voxel_is_refused() -> None:
    first = np.zeros((3, 3, 1), bool)
    first[0, 0] = True
    with pytest.raises(ValueError, match="fewer than two voxels"):
        contrast_to_noise(np.zeros(first.shape), first, ~first)


def test_core_is_what_has_only_its_like_beside_it_in_the_slice() -> None:
    labels = np.zeros((7, 7, 3), np.uint8)
    labels[1:6, 1:6, 1] = 5
    core = tissue_core(labels, 5)
    assert np.argwhere(core).tolist() == [[x, y, 1] for x in (2, 3, 4) for y in (2, 3, 4)]


def test_equalization_is_that_of_scikit_image_in_the_foreground_alone() -> None:
    scan = np.random.default_rng(0).uniform(-1, 1, (32, 40, 3)).astype(np.float32)
    foreground = np.zeros(scan.shape, bool)
    foreground[4:28, 6:30, :2] = True
    before = scan.copy()
    equal = adaptive_histogram_equalization(scan, foreground)
    np.testing.assert_array_equal(scan, before)
    np.testing.assert_array_equal(equal[~foreground], scan[~foreground])
    expected = 2 * equalize_adapthist((scan[..., 1].astype(np.float64) + 1) / 2) - 1
    inside = foreground[..., 1]
    np.testing.assert_allclose(equal[..., 1][inside], expected[inside], atol=1e-6)
    assert equal.dtype == np.float32


def test_high_contrast_phantoms_have_more_of_it_than_their_scans() -> None:
    phantom = make_phantom(201, (64, 64, 12), kind="mr_contrast")
    grey, white = (tissue_core(phantom.labels, t) for t in (Tissue.DEEP_GREY, Tissue.WHITE_MATTER))
    low, high = (contrast_to_noise(image, grey, white) for image in (phantom.scan, phantom.style))
    assert high > 2 * low > 1
    order = (Tissue.CSF, Tissue.GREY_MATTER, Tissue.WHITE_MATTER)
    for image in (phantom.scan, phantom.style):
        means = [image[tissue_core(phantom.labels, tissue)].mean() for tissue in order]
        assert means == sorted(means)


def test_smoothing_raises_the_ratio_and_keeps_the_means_and_the_background() -> None:
    first, second = halves((40, 40, 6))
    image = np.random.default_rng(2).normal(0, 0.1, first.shape).astype(np.float32)
    image[second] += 0.1
    foreground = np.ones(first.shape, bool)
    foreground[:, :4] = False
    smooth = smoothing(image, foreground)
    np.testing.assert_array_equal(smooth[~foreground], image[~foreground])
    inside = [core & foreground for core in (first, second)]
    for tissue in inside:
        assert smooth[tissue].mean() == pytest.approx(image[tissue].mean(), abs=0.01)
    # White noise loses a Gaussian's 1 / (2 sigma sqrt(pi)) along each of two axes.
    gained = contrast_to_noise(smooth, *inside) / contrast_to_noise(image, *inside)
    assert 2.5 < gained < 2 * np.sqrt(np.pi)
