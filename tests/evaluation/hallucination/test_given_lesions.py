from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.evaluation.hallucination import (
    detector_recall,
    lesion_contrasts,
    segmented_recall,
)

SPACING = (1.0, 1.0, 1.0)
SHAPE = (48, 48, 24)


def spots(places, radius=3):
    grid = np.indices(SHAPE)
    mask = np.zeros(SHAPE, bool)
    for place in places:
        distance = sum((g - c) ** 2 for g, c in zip(grid, place, strict=True))
        mask |= distance <= radius**2
    return mask


@pytest.fixture
def lesions():
    return spots([(12, 12, 12), (34, 30, 12)])


def test_contrast_and_noise_are_those_that_were_put_in(lesions, rng) -> None:
    array = 0.1 * rng.standard_normal(SHAPE) + 0.4 * lesions
    everywhere = np.ones(SHAPE, bool)
    for found in lesion_contrasts(array, lesions, everywhere, SPACING):
        assert found.difference == pytest.approx(0.4, abs=0.06)
        assert found.cnr == pytest.approx(4, rel=0.25)
        assert found.volume == pytest.approx(4 / 3 * np.pi * 27, rel=0.1)
    erased = lesion_contrasts(array - 0.4 * lesions, lesions, everywhere, SPACING)
    assert max(found.cnr for found in erased) < 0.6


def test_the_detector_finds_what_stands_out_before_its_false_positives(lesions, rng) -> None:
    everywhere = np.ones(SHAPE, bool)
    noise = 0.05 * rng.standard_normal(SHAPE)
    others = spots([(12, 36, 12), (36, 10, 12), (24, 22, 6)])
    both = noise + 0.5 * lesions
    assert detector_recall(both, lesions, everywhere, SPACING, 0) == 1
    hidden = noise + 0.3 * lesions + 0.6 * others  # three stronger ones that are no lesions
    assert detector_recall(hidden, lesions, everywhere, SPACING, 2) == 0
    assert detector_recall(hidden, lesions, everywhere, SPACING, 3) == 1
    half = noise + 0.5 * spots([(12, 12, 12)])
    assert detector_recall(half, lesions, everywhere, SPACING, 0) == 0.5


def test_a_segmenter_is_judged_lesion_by_lesion(lesions) -> None:
    predicted = spots([(13, 12, 12), (24, 40, 8), (40, 40, 8)], radius=2)
    assert segmented_recall(predicted, lesions, SPACING) == (0.5, 2)
    assert segmented_recall(lesions, lesions, SPACING) == (1, 0)


@pytest.mark.parametrize("measure", [detector_recall, segmented_recall])
def test_no_lesion_is_no_recall(measure) -> None:
    none, everywhere = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    given = (
        (none, none, everywhere, SPACING) if measure is detector_recall else (none, none, SPACING)
    )
    with pytest.raises(ValueError, match="no lesion"):
        measure(*given)
