from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, grey_opening

from medstyle_gan.evaluation.hallucination import (
    insertion_trials,
    outcomes,
    recall,
    removal_of_blobs,
    removal_of_lesions,
)
from medstyle_gan.evaluation.hallucination.blobs import blob_mask, draw_blobs, insert
from medstyle_gan.evaluation.hallucination.inpainting import components, without_lesions
from medstyle_gan.evaluation.hallucination.insertion import Outcome, recall_by_kind
from medstyle_gan.evaluation.hallucination.matched_filter import Response


@pytest.fixture(scope="module")
def trials(subjects):
    return insertion_trials(subjects[0], seed=0)


def test_a_copy_keeps_every_lesion_and_its_contrast(subjects, trials) -> None:
    found = outcomes(trials, lambda scan, mask: scan, subjects[0].mask, subjects[0].spacing)
    assert len(found) == sum(len(trial.lesions) for trial in trials)
    assert recall(found) == 1
    # Clipping at the ends of the range takes some contrast away, nothing adds any.
    kept = np.array([outcome.kept for outcome in found])
    assert np.median(kept) == pytest.approx(1, abs=0.02)
    assert kept.max() < 1.05
    inverted = outcomes(trials, lambda scan, mask: -scan, subjects[0].mask, subjects[0].spacing)
    np.testing.assert_allclose([o.kept for o in inverted], -kept, atol=1e-4)
    assert recall(inverted) == 1


def test_what_ignores_the_scan_keeps_none(subjects, trials) -> None:
    found = outcomes(
        trials, lambda scan, mask: subjects[1].scan, subjects[0].mask, subjects[0].spacing
    )
    assert recall(found) == 0


def test_small_bright_lesions_that_are_erased_are_missed_and_no_others(subjects, trials) -> None:
    def erase(scan, mask):
        return grey_opening(scan, (3, 3, 3))

    kinds = recall_by_kind(outcomes(trials, erase, subjects[0].mask, subjects[0].spacing))
    assert kinds["small_bright"] <= 0.5
    assert kinds["small_dark"] >= kinds["small_bright"] + 0.25
    assert kinds["large_dark"] >= 0.7


def test_the_true_mapping_keeps_most(subjects, trials, true_mapping) -> None:
    assert recall(outcomes(trials, true_mapping, subjects[0].mask, subjects[0].spacing)) >= 0.7


def test_noise_of_the_translator_hides_lesions(subjects, trials) -> None:
    def noisy(scan, mask):
        rng = np.random.default_rng(int(1000 * np.abs(scan).sum()) % 2**31)
        return scan + 0.6 * rng.standard_normal(scan.shape).astype(np.float32)

    assert recall(outcomes(trials, noisy, subjects[0].mask, subjects[0].spacing)) < 0.7


def test_lesions_taken_out_are_gone_and_the_rest_is_as_it_was(subjects, rng) -> None:
    subject = subjects[0]
    smooth = gaussian_filter(subject.scan, 2)  # so that its own fill is known
    blobs = draw_blobs(smooth, subject.mask, subject.spacing, rng, sizes=(6.0, 8.0))
    changed = insert(smooth, blobs, subject.spacing)
    touched = blob_mask(changed.shape, blobs, subject.spacing)
    filled = without_lesions(changed, touched)
    before, after = (np.abs(a - smooth)[touched].mean() for a in (changed, filled))
    assert after < 0.3 * before
    far = ~touched
    far[1:] &= ~touched[:-1]
    far[:-1] &= ~touched[1:]
    far[:, 1:] &= ~touched[:, :-1]
    far[:, :-1] &= ~touched[:, 1:]
    assert np.array_equal(filled[far], changed[far])


def test_removal_sees_a_lesion_that_is_painted_whatever_the_scan_shows(subjects, trials) -> None:
    subject = subjects[0]
    trial = removal_of_blobs(subject, trials[0])
    assert recall(outcomes([trial], lambda scan, mask: scan, subject.mask, subject.spacing)) > 0.7
    kept = trials[0].with_lesions  # as if the network had learned it by heart
    assert recall(outcomes([trial], lambda scan, mask: kept, subject.mask, subject.spacing)) == 0


def test_marked_lesions_are_removed_one_by_one(ill_subject) -> None:
    trial = removal_of_lesions(ill_subject)
    assert trial is not None
    count = sum(1 for _ in components(ill_subject.lesions, ill_subject.spacing))
    assert 0 < len(trial.lesions) <= count
    found = outcomes([trial], lambda scan, mask: scan, ill_subject.mask, ill_subject.spacing)
    assert recall(found) == 1
    assert (
        recall(
            outcomes(
                [trial], lambda s, mask: ill_subject.truth, ill_subject.mask, ill_subject.spacing
            )
        )
        == 0
    )
    assert removal_of_lesions(replace(ill_subject, lesions=None)) is None


def test_recall_by_kind_splits_by_size_and_sign() -> None:
    def outcome(size: float, contrast: float, visible: bool) -> Outcome:
        return Outcome(size, contrast, Response(0.1, 0.0), 1.0, visible)

    found = [
        outcome(2.0, 0.2, True),
        outcome(4.0, 0.4, False),
        outcome(6.0, 0.2, True),
        outcome(12.0, -0.2, False),
    ]
    assert recall_by_kind(found) == {"small_bright": 0.5, "large_bright": 1, "large_dark": 0}
    assert np.isnan(recall([]))
