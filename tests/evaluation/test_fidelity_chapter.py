from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from medstyle_gan.config import Config
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.evaluation import fidelity_chapter
from medstyle_gan.evaluation.chapter import TRANSLATION, Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.hounsfield import TISSUES
from medstyle_gan.evaluation.multiscale import fitting_scales, masked_ms_ssim
from tests.evaluation.phantom_subjects import phantom_subject


@pytest.fixture(scope="module")
def subject() -> Subject:
    return phantom_subject(3)


@pytest.fixture(scope="module")
def ct() -> Subject:
    return phantom_subject(4, kind="cbct_to_ct")


def values_of(subject: Subject, estimate: np.ndarray, **context) -> dict:
    chapter = fidelity_chapter.run(
        [subject],
        {TRANSLATION: lambda scan, mask: estimate},
        EvaluationContext(Config(), **context),
    )
    return {(f.name, *f.of.values()): f.value for f in chapter.figures}


def test_figures_are_skimages_in_the_mask(subject: Subject, rng: np.random.Generator) -> None:
    estimate = subject.truth + rng.normal(0, 0.1, subject.truth.shape).astype(np.float32)
    values = values_of(subject, estimate)
    inside, truth = estimate[subject.mask], subject.truth[subject.mask]
    assert values["psnr",] == pytest.approx(
        peak_signal_noise_ratio(truth, inside, data_range=2), abs=1e-3
    )
    assert values["mae",] == pytest.approx(np.abs(truth - inside).mean() / 2, rel=1e-4)


def test_regions_are_scored_by_their_own_voxels(subject: Subject) -> None:
    label = 6
    estimate = subject.truth.copy()
    estimate[subject.labels == label] += 0.25
    values = values_of(subject, estimate)
    assert values["mae", str(label)] == pytest.approx(0.125, rel=1e-3)
    assert values["psnr", str(label)] == pytest.approx(20 * np.log10(2 / 0.25), rel=1e-3)
    others = {str(n) for n in np.unique(subject.labels[subject.mask])} - {"0", str(label)}
    assert others
    assert all(values["mae", other] == 0 for other in others)
    assert all(values["psnr", other] == np.inf for other in others)
    assert all(values["ssim", other] <= 1 for other in others)


def test_native_error_is_of_what_would_be_written(subject: Subject) -> None:
    scale = FittedScale(center=300.0, half_range=300.0, clip=True)
    values = values_of(subject, np.zeros_like(subject.truth), style_scale=scale)
    expected = np.abs(300.0 - subject.native_truth[subject.mask]).mean()
    assert values["mae_native",] == pytest.approx(expected, rel=1e-5)


def test_hounsfield_protocol(ct: Subject) -> None:
    scale = FittedScale(center=0.0, half_range=1000.0, clip=True)
    estimate = scale.to_unit(ct.native_truth.copy()) + np.float32(0.05)  # 50 HU too many
    estimate[~ct.mask] = 3.0  # what stands outside the body must not count
    values = values_of(ct, estimate, style_scale=scale, hounsfield=True)
    truth = np.clip(ct.native_truth, -1024, 3000)[ct.mask]
    ours = np.clip(scale.from_unit(estimate), -1024, 3000)[ct.mask]
    assert values["mae_hu",] == pytest.approx(np.abs(ours - truth).mean(), rel=1e-4)
    assert values["psnr_hu",] == pytest.approx(
        peak_signal_noise_ratio(truth, ours, data_range=4024), abs=1e-3
    )
    assert values["ssim_hu",] < 1
    assert values["hu_shift", "soft tissue"] == pytest.approx(50, abs=1)
    assert values["hu_error", "bone"] == abs(values["hu_shift", "bone"])


def test_metal_and_padding_are_clipped(ct: Subject) -> None:
    native = ct.native_truth.copy()
    native[tuple(np.argwhere(ct.mask)[0])] = 12_000.0
    scale = FittedScale(center=0.0, half_range=1000.0, clip=False)
    spoilt = replace(ct, native_truth=native)
    capped = replace(ct, native_truth=np.clip(native, -1024, 3000))
    estimate = scale.to_unit(ct.native_truth.copy())
    both = [
        values_of(s, estimate, style_scale=scale, hounsfield=True)["mae_hu",]
        for s in (spoilt, capped)
    ]
    assert both[0] == both[1]


def test_tissues_do_not_overlap() -> None:
    bounds = sorted(TISSUES.values())
    assert all(one[1] < two[0] for one, two in pairwise(bounds))


def test_without_truth_nothing_is_measured(subject: Subject) -> None:
    alone = replace(subject, truth=None, native_truth=None)
    chapter = fidelity_chapter.run(
        [alone], {TRANSLATION: lambda scan, mask: scan}, EvaluationContext(Config())
    )
    assert not chapter.figures
    assert "no truth" in chapter.notes[0]


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (20, 0), (21, 2), (44, 3), (98, 3), (99, 4), (176, 5), (512, 5)]
)
def test_scales_fit_the_slices(side: int, scales: int) -> None:
    assert fitting_scales((side, side + 5, 9)) == scales
    if scales:  # torchmetrics agrees that they do
        image = torch.rand(1, 1, side, side)
        betas = tuple([1 / scales] * scales)
        multiscale_structural_similarity_index_measure(image, image, data_range=1.0, betas=betas)


def test_one_scale_of_ms_ssim_is_ssim(rng: np.random.Generator) -> None:
    """Two scales by hand: contrast and structure of the finest, SSIM of the halved images."""
    truth = rng.random((40, 40, 2)).astype(np.float32)
    estimate = np.clip(truth + rng.normal(0, 0.1, truth.shape), 0, 1).astype(np.float32)
    mask = np.ones(truth.shape, bool)
    ours = masked_ms_ssim(estimate, truth, mask, 1.0, 2)
    images = [torch.from_numpy(np.moveaxis(a, 2, 0)[:, None]) for a in (estimate, truth)]
    halved = [torch.nn.functional.avg_pool2d(image, 2) for image in images]
    keywords = {"sigma": 1.5, "kernel_size": 11, "data_range": 1.0, "reduction": "none"}
    _, contrast = structural_similarity_index_measure(
        *images, return_contrast_sensitivity=True, **keywords
    )
    coarse = structural_similarity_index_measure(*halved, **keywords)
    first, second = 0.0448 / (0.0448 + 0.2856), 0.2856 / (0.0448 + 0.2856)
    assert ours == pytest.approx(float((contrast**first * coarse**second).mean()), abs=1e-4)


def test_ms_ssim_does_not_see_outside_the_mask(rng: np.random.Generator) -> None:
    truth = rng.random((30, 30, 3)).astype(np.float32)
    mask = np.zeros(truth.shape, bool)
    mask[8:22, 8:22] = True
    estimate = np.where(mask, truth, 1 - truth)
    assert masked_ms_ssim(estimate, truth, mask, 1.0, 2) == pytest.approx(1.0)
