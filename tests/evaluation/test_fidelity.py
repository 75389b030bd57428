from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medstyle_gan.evaluation import fidelity, rank_correlation, ssim_map

SHAPE = (40, 36, 5)


@pytest.fixture
def images(rng):
    truth = rng.uniform(-1, 1, SHAPE)
    return truth + 0.3 * rng.standard_normal(SHAPE), truth


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[8:30, 9:25, 1:4] = True
    return mask


@pytest.mark.parametrize("data_range", [2.0, 255.0])
def test_ssim_map_agrees_with_skimage_away_from_the_border(images, data_range) -> None:
    translation, truth = (image * data_range / 2 for image in images)
    ours = ssim_map(translation, truth, data_range)
    for z in range(SHAPE[2]):
        _, expected = structural_similarity(
            translation[..., z],
            truth[..., z],
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        np.testing.assert_allclose(ours[5:-5, 5:-5, z], expected[5:-5, 5:-5], atol=1e-12)


def test_float32_is_precise_enough_for_ssim(images, mask) -> None:
    single = (image.astype(np.float32) for image in images)
    expected = fidelity(*images, mask, 2.0)["ssim"]
    assert fidelity(*single, mask, 2.0)["ssim"] == pytest.approx(expected, abs=1e-4)


def test_ssim_is_the_mean_of_the_map_over_the_mask(images, mask) -> None:
    expected = ssim_map(*images, 2.0)[mask].mean()
    assert fidelity(*images, mask, 2.0)["ssim"] == pytest.approx(expected, abs=1e-12)


def test_mae_and_psnr_have_their_closed_forms_in_the_mask(images, mask) -> None:
    translation, truth = images
    scores = fidelity(translation, truth, mask, 2.0)
    error = (translation - truth)[mask]
    assert scores["mae"] == pytest.approx(np.abs(error).mean())
    assert scores["psnr"] == pytest.approx(10 * math.log10(4 / (error**2).mean()))
    assert scores["psnr"] == pytest.approx(
        peak_signal_noise_ratio(truth[mask], translation[mask], data_range=2.0)
    )


def test_what_lies_far_outside_the_mask_does_not_count(images, mask) -> None:
    translation, truth = images
    far = ~mask
    far[2:36, 3:31, 1:4] = False  # the SSIM window reaches 5 pixels beyond the mask
    changed = np.where(far, 100.0, translation)
    assert fidelity(changed, truth, mask, 2.0) == fidelity(translation, truth, mask, 2.0)


def test_equal_volumes_are_perfect(images, mask) -> None:
    _, truth = images
    assert fidelity(truth, truth, mask, 2.0) == {"mae": 0, "psnr": math.inf, "ssim": 1}


def test_scores_do_not_depend_on_the_unit(images, mask) -> None:
    unit = fidelity(*images, mask, 2.0)
    native = fidelity(*(500 * image for image in images), mask, 1000.0)
    assert native["mae"] == pytest.approx(500 * unit["mae"])
    assert native["psnr"] == pytest.approx(unit["psnr"])
    assert native["ssim"] == pytest.approx(unit["ssim"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b, m: (a[:-1], b, m, 2.0), "same shape"),
        (lambda a, b, m: (a, b, np.zeros_like(m), 2.0), "mask is empty"),
        (lambda a, b, m: (a, b, m, 0.0), "data_range must be positive"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(images, mask, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        fidelity(*change(*images, mask))


def test_rank_correlation_is_the_correlation_of_ranks_in_the_mask(images, mask) -> None:
    translation, truth = (np.round(image, 1) for image in images)  # with ties
    ranks = [rankdata(image[mask]) for image in (translation, truth)]
    expected = np.corrcoef(*ranks)[0, 1]
    assert rank_correlation(translation, truth, mask) == pytest.approx(expected)


def test_rank_correlation_sees_only_order(images, mask) -> None:
    translation, truth = images
    expected = rank_correlation(translation, truth, mask)
    assert rank_correlation(np.exp(translation), truth, mask) == pytest.approx(expected)
    assert rank_correlation(-translation, truth, mask) == pytest.approx(-expected)
    assert rank_correlation(np.exp(truth), truth, mask) == pytest.approx(1)


def test_rank_correlation_of_a_constant_is_zero(images, mask) -> None:
    assert rank_correlation(np.zeros(SHAPE), images[1], mask) == 0
