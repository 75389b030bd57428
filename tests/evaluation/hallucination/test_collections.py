"""Site classifier, memorisation and agreement: figures of whole collections."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import approx_fprime

from medstyle_gan.evaluation.hallucination import (
    concordance,
    copied_share,
    cross_validated_accuracy,
    held_out_baseline,
    looks_of,
    nearest,
    regional_means,
)
from medstyle_gan.evaluation.hallucination.agreement import body_parts
from medstyle_gan.evaluation.hallucination.site_classifier import fit_logistic, slice_features
from medstyle_gan.evaluation.hallucination.slice_choice import BodySlice, body_slices

# ------------------------------------------------------------------ site


def test_logistic_regression_is_at_the_penalised_losss_minimum(rng) -> None:
    features = rng.standard_normal((60, 4))
    positive = features @ [1.0, -2.0, 0.5, 0.0] + rng.standard_normal(60) > 0.4
    found = fit_logistic(features, positive, penalty=2.0)

    def loss(c):
        probability = 1 / (1 + np.exp(-(features @ c[:-1] + c[-1])))
        right = np.where(positive, probability, 1 - probability)
        weight = np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))
        return -(weight * np.log(right)).sum() + (c[:-1] ** 2).sum()

    np.testing.assert_allclose(approx_fprime(found, loss, 1e-7), 0, atol=1e-3)


def test_accuracy_is_chance_for_the_same_and_one_for_other_images(rng) -> None:
    def subjects(mean: float) -> list[np.ndarray]:
        return [mean + rng.standard_normal((12, 3)) for _ in range(8)]

    assert cross_validated_accuracy(subjects(0), subjects(0)) == pytest.approx(0.5, abs=0.15)
    assert cross_validated_accuracy(subjects(0), subjects(4)) > 0.97


def test_what_marks_a_subject_does_not_mark_its_site(rng) -> None:
    # Each subject has a value of its own: it would tell slices of known subjects apart.
    ours, real = ([np.full((10, 1), rng.standard_normal()) for _ in range(10)] for _ in range(2))
    assert cross_validated_accuracy(ours, real) < 0.75


def test_one_subject_is_too_few() -> None:
    with pytest.raises(ValueError, match="two subjects"):
        cross_validated_accuracy([np.zeros((3, 2))], [np.zeros((3, 2))] * 3)


def test_features_see_brightness_and_sharpness_and_no_voxel_size(rng) -> None:
    image = gaussian_filter(rng.standard_normal((64, 64)), 3)
    image = (image / np.abs(image).max()).astype(np.float32)
    mask = np.ones(image.shape, bool)
    base = slice_features(BodySlice(image, mask), (1.0, 1.0), 2.0)
    brighter = slice_features(BodySlice(image + 0.1, mask), (1.0, 1.0), 2.0)
    np.testing.assert_allclose(brighter[:5] - base[:5], 0.1, atol=1e-6)
    np.testing.assert_allclose(brighter[5:], base[5:], atol=1e-5)
    blurred = slice_features(BodySlice(gaussian_filter(image, 3), mask), (1.0, 1.0), 2.0)
    assert blurred[7] < 0.8 * base[7]
    # The same image in voxels half as large.
    fine = np.kron(image, np.ones((2, 2), np.float32))
    halved = slice_features(BodySlice(fine, np.ones(fine.shape, bool)), (0.5, 0.5), 2.0)
    np.testing.assert_allclose(halved[8::2], base[8::2], rtol=0.15)  # bands, per voxel or not


# ------------------------------------------------------------------ memorisation


@pytest.fixture(scope="module")
def training(subjects):
    return [looks_of(body_slices(s.truth, s.mask)) for s in subjects]


def test_a_copy_is_nearer_than_real_slices_ever_are(subjects, training) -> None:
    baseline = held_out_baseline(training)
    assert len(baseline.correlation) == sum(map(len, training))
    assert baseline.correlation.max() < 0.999
    bank = training[0]
    copies = nearest(looks_of(body_slices(subjects[0].truth, subjects[0].mask, 5)), bank)
    assert copied_share(copies, baseline) == 1
    np.testing.assert_allclose(copies.correlation, 1)
    others = nearest(training[1], bank)
    assert copied_share(others, baseline) == 0


def test_a_copy_is_found_where_it_was_shifted_and_windowed(subjects, training) -> None:
    subject = subjects[0]
    moved = np.roll(0.7 * subject.truth + 0.1, 2, axis=0)
    shown = body_slices(moved, np.roll(subject.mask, 2, axis=0), 5)
    found = nearest(looks_of(shown), training[0])
    assert copied_share(found, held_out_baseline(training)) >= 0.8


def test_likeness_is_the_correlation_coefficient(subjects, training) -> None:
    from medstyle_gan.evaluation.hallucination.slice_choice import thumbnail

    first, second = (thumbnail(body_slices(s.truth, s.mask, 1)[0]) for s in subjects)
    looks = [looks_of(body_slices(s.truth, s.mask, 1)) for s in subjects]
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert nearest(looks[0], looks[1]).correlation[0] == pytest.approx(expected)


def test_a_baseline_needs_two_subjects(training) -> None:
    with pytest.raises(ValueError, match="two training subjects"):
        held_out_baseline(training[:1])


# ------------------------------------------------------------------ agreement


def test_concordance_is_correlation_that_also_asks_for_equal_values(rng) -> None:
    true = rng.standard_normal(50)
    assert concordance(true, true) == pytest.approx(1)
    assert concordance(-true + 2 * true.mean(), true) == pytest.approx(-1)
    # Of the same spread, a shift of d standard deviations leaves 1 / (1 + d²/2).
    assert concordance(true + true.std(), true) == pytest.approx(1 / 1.5)
    assert np.isnan(concordance([1.0], [1.0]))


def test_regional_means_are_of_the_labels_in_the_mask(subjects) -> None:
    subject = subjects[0]
    means = regional_means(subject.truth, subject.labels, subject.mask)
    for label, mean in means.items():
        inside = subject.mask & (subject.labels == label)
        assert mean == pytest.approx(subject.truth[inside].mean(), abs=1e-5)
    parts = body_parts(subject.mask)
    assert set(np.unique(parts)) <= set(range(28))
    assert np.array_equal(parts > 0, subject.mask)
