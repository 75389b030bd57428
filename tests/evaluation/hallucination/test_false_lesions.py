from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from skimage.feature import blob_log

from medstyle_gan.evaluation.hallucination.blob_detection import (
    blob_response,
    detect_blobs,
    responses,
)
from medstyle_gan.evaluation.hallucination.blobs import ball, place
from medstyle_gan.evaluation.hallucination.expected_mapping import expected_translation
from medstyle_gan.evaluation.hallucination.false_lesions import false_lesions
from tests.evaluation import looking_at_phantoms

SPACING = (1.0, 1.0, 1.0)


def painted(array, spacing, places, diameter, contrast):
    changed = array.copy()
    for center in places:
        box, share = place(ball(diameter, spacing), center, array.shape)
        changed[box] += contrast * share
    return changed


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 0.9, 3.0)])
@pytest.mark.parametrize("diameter", [4.0, 8.0])
def test_a_ball_answers_with_its_contrast(spacing, diameter) -> None:
    array = painted(np.zeros((41, 41, 21), np.float32), spacing, [(20, 20, 10)], diameter, -0.3)
    response = blob_response(array, diameter, spacing)
    assert response[20, 20, 10] == pytest.approx(-0.3, rel=0.05)


def test_detections_agree_with_skimages_blobs(rng) -> None:
    places = [(12, 12, 12), (30, 14, 20), (20, 34, 16)]
    array = 0.02 * rng.standard_normal((44, 44, 32)).astype(np.float32)
    array = painted(array, SPACING, places, 8.0, 0.5)
    everywhere = np.ones(array.shape, bool)
    ours = list(detect_blobs(responses(array, SPACING), everywhere, SPACING, least=0.25))
    theirs = blob_log(array, min_sigma=1, max_sigma=4, num_sigma=7, threshold=0.15)
    assert len(ours) == len(theirs) == 3
    for blob in ours:
        assert min(np.abs(np.subtract(blob.center, t[:3])).max() for t in theirs) <= 1
        assert blob.diameter in (6.0, 8.0)


def test_a_map_of_intensities_is_what_is_expected(subjects) -> None:
    subject = subjects[0]
    translation = np.sin(2 * subject.scan).astype(np.float32)
    expected = expected_translation(subject.scan, translation, subject.mask, subject.spacing)
    assert np.abs(expected - translation)[subject.mask].mean() < 0.02
    assert np.array_equal(expected[~subject.mask], translation[~subject.mask])


def test_what_is_painted_at_a_place_does_not_explain_itself(subjects) -> None:
    subject = subjects[0]
    center = tuple(int(c) for c in np.argwhere(inner(subject, 10))[50])
    translation = painted(subject.scan, subject.spacing, [center], 10.0, 0.6)
    expected = expected_translation(subject.scan, translation, subject.mask, subject.spacing)
    assert (translation - expected)[center] > 0.5


def inner(subject, depth):
    return distance_transform_edt(subject.mask, sampling=subject.spacing) > depth


def plain_place(subject, depth):
    """Where the scan itself shows least of a blob."""
    own = np.max([np.abs(r) for r in responses(subject.scan, subject.spacing).values()], axis=0)
    place = np.argmin(np.where(inner(subject, depth), own, np.inf))
    return tuple(int(c) for c in np.unravel_index(place, own.shape))


def test_only_what_neither_scan_nor_truth_shows_is_false(subjects, true_mapping) -> None:
    subject = subjects[0]
    center = plain_place(subject, 14)
    given = (subject.mask, subject.spacing)
    clean = true_mapping(subject.scan, subject.mask)
    spoiled = painted(clean, subject.spacing, [center], 10.0, 0.8).clip(-1, 1)
    before = false_lesions(subject.scan, clean, *given)
    found = false_lesions(subject.scan, spoiled, *given)
    assert len(found) == len(before) + 1
    near = [np.linalg.norm(np.subtract(b.center, center) * subject.spacing) for b in found]
    assert min(near) < 6
    # The truth has it, or the scan has it: then it is none.
    assert len(false_lesions(subject.scan, spoiled, *given, truth=spoiled)) <= len(before)
    sign = -1 if subject.scan[center] > 0 else 1
    stronger, weaker = (
        painted(subject.scan, subject.spacing, [center], 10.0, sign * contrast)
        for contrast in (0.9, 0.6)
    )
    assert len(false_lesions(subject.scan, stronger, *given)) == 1
    assert false_lesions(weaker, stronger, *given) == []


@pytest.mark.parametrize("seed", [51, 52, 61])
def test_the_truth_itself_has_no_false_lesion(seed: int) -> None:
    one = looking_at_phantoms.subject(seed)
    given = (one.scan, one.truth, one.mask, one.spacing)
    # Without the truth beside it, it has: the scan does not foretell all of it.
    assert len(false_lesions(*given)) > 0
    assert false_lesions(*given, truth=one.truth) == []


def test_references_and_a_constant_have_none(subjects) -> None:
    subject = subjects[0]
    for translation in (subject.scan, -subject.scan, np.zeros_like(subject.scan)):
        assert false_lesions(subject.scan, translation, subject.mask, subject.spacing) == []
