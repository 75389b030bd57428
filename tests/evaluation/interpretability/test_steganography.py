from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.evaluation.interpretability import cycle_under_noise
from tests.evaluation import looking_at_phantoms as phantoms

STEP = 0.03  # of the grey levels between which the scan is hidden


def hiding(scan: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One grey for all, with the scan in its last digits."""
    return (0.3 + STEP * (scan + 1) / 2.001).astype(np.float32)


def reading(translation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (((translation - 0.3) / STEP * 2.001) - 1).clip(-1, 1).astype(np.float32)


def modulo(scan: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The true style in coarse greys, with the scan between them."""
    truth = phantoms.subject(1).truth
    return (np.floor(truth / STEP) * STEP + STEP * (scan + 1) / 2.001).astype(np.float32)


def remainder(translation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return ((translation / STEP) % 1 * 2.001 - 1).astype(np.float32)


@pytest.mark.parametrize(("forward", "backward"), [(hiding, reading), (modulo, remainder)])
def test_a_cycle_that_hides_the_scan_collapses(forward, backward):
    subject = phantoms.subject(1)
    cycle = cycle_under_noise(subject.scan, subject.mask, forward, backward)
    assert cycle.error[0] < 0.02  # without noise it comes back as if all were well
    assert cycle.collapse > 0.5
    assert cycle.gain > 10


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (lambda s, m: s, lambda t, m: t),
        (lambda s, m: -s, lambda t, m: -t),
        (lambda s, m: s / 2 + 0.3, lambda t, m: (t - 0.3) * 2),
        (lambda s, m: s, lambda t, m: t * 0 - 0.2),
    ],
    ids=["copy", "inverse", "half_contrast", "knows_nothing"],
)
def test_an_honest_cycle_does_not_collapse(forward, backward):
    subject = phantoms.subject(1)
    cycle = cycle_under_noise(subject.scan, subject.mask, forward, backward)
    assert not cycle.collapse > 0.12


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_the_gain_is_that_of_the_way_back(gain: float):
    subject = phantoms.subject(1)
    cycle = cycle_under_noise(
        subject.scan, subject.mask, lambda s, m: s / gain, lambda t, m: t * gain
    )
    assert cycle.gain == pytest.approx(gain, rel=0.02)
    assert cycle.error[-1] == pytest.approx(gain * 0.08, rel=0.02)


def test_only_the_body_counts_and_the_seed_decides():
    subject = phantoms.subject(1)

    def backward(translation, mask):
        assert (translation[~subject.mask] == subject.scan[~subject.mask]).all()
        return np.where(mask, translation, 9.0)

    runs = [
        cycle_under_noise(subject.scan, subject.mask, lambda s, m: s, backward, seed)
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0].error[0] == 0


def test_levels_and_masks_that_cannot_be_are_refused():
    subject = phantoms.subject(1)
    with pytest.raises(ValueError, match="levels"):
        cycle_under_noise(subject.scan, subject.mask, hiding, reading, noise=(0.0, 0.1))
    with pytest.raises(ValueError, match="empty"):
        cycle_under_noise(subject.scan, subject.mask & False, hiding, reading)
