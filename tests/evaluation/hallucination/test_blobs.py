from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from medstyle_gan.evaluation.chapter import Subject
from medstyle_gan.evaluation.hallucination.blobs import (
    ball,
    blob_mask,
    draw_blobs,
    insert,
    intensity_range,
    place,
    visible_sizes,
)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 0.9, 3.0), (2.5, 2.0, 1.5)])
@pytest.mark.parametrize("diameter", [6.0, 12.0])
def test_a_ball_has_its_volume_and_is_symmetric(spacing, diameter) -> None:
    share = ball(diameter, spacing)
    volume = share.sum() * np.prod(spacing)
    assert volume == pytest.approx(np.pi / 6 * diameter**3, rel=0.03)
    assert all(size % 2 == 1 for size in share.shape)
    np.testing.assert_allclose(share, share[::-1, ::-1, ::-1], atol=1e-6)
    assert share.max() == 1


def test_sizes_that_hardly_touch_a_voxel_are_not_visible() -> None:
    assert visible_sizes((2.0, 3.0, 4.0, 6.0), (4.0, 4.0, 3.0)) == (4.0, 6.0)
    assert visible_sizes((2.0, 3.0), (0.9, 0.9, 1.0)) == (2.0, 3.0)


def test_a_patch_at_the_border_is_cut() -> None:
    box, inside = place(np.arange(27.0).reshape(3, 3, 3), (0, 4, 2), (5, 5, 5))
    assert box == (slice(0, 2), slice(3, 5), slice(1, 4))
    assert inside.shape == (2, 2, 3)
    assert inside[0, 0, 0] == 9


def test_blobs_lie_in_the_body_apart_and_look_like_tissue(subjects: list[Subject], rng) -> None:
    subject = subjects[0]
    blobs = draw_blobs(subject.scan, subject.mask, subject.spacing, rng)
    assert len(blobs) > 8
    assert len({(b.diameter, b.contrast) for b in blobs}) == len(blobs)
    depth = distance_transform_edt(subject.mask, sampling=subject.spacing)
    for blob in blobs:
        assert depth[blob.center] >= blob.diameter / 2 + 2
        assert blob.amplitude == pytest.approx(
            blob.contrast * intensity_range(subject.scan, subject.mask)
        )
    for first in blobs:
        for second in blobs:
            if first is second:
                continue
            apart = np.subtract(first.center, second.center) * np.array(subject.spacing)
            surfaces = np.linalg.norm(apart) - (first.diameter + second.diameter) / 2
            assert surfaces >= 6 - 1e-4
    sizes = [blob.diameter for blob in blobs]
    assert all(a >= b for a, b in pairwise(sizes))


def test_blobs_keep_away_from_lesions_and_are_the_same_from_a_seed(subjects) -> None:
    subject = subjects[0]
    avoid = np.zeros(subject.mask.shape, bool)
    avoid[:24] = True
    given = (subject.scan, subject.mask, subject.spacing)
    drawn = [draw_blobs(*given, np.random.default_rng(3), avoid=avoid) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0]
    assert all(blob.center[0] > 24 for blob in drawn[0])


def test_insertion_changes_the_blobs_by_their_amplitude_and_nothing_else(subjects, rng) -> None:
    subject = subjects[0]
    blobs = draw_blobs(subject.scan, subject.mask, subject.spacing, rng)
    changed = insert(subject.scan, blobs, subject.spacing)
    touched = blob_mask(changed.shape, blobs, subject.spacing)
    assert np.array_equal(changed[~touched], subject.scan[~touched])
    for blob in blobs:
        difference = changed[blob.center] - subject.scan[blob.center]
        share = ball(blob.diameter, subject.spacing).max()
        room = 1 - np.sign(blob.amplitude) * subject.scan[blob.center]
        assert abs(difference) == pytest.approx(min(abs(blob.amplitude * share), room), abs=1e-5)
