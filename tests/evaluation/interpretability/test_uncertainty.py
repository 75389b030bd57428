from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from medstyle_gan.evaluation.interpretability import calibration, flip_spread

SHAPE = (20, 20, 10)


@pytest.fixture
def mask() -> np.ndarray:
    body = np.zeros(SHAPE, bool)
    body[2:18, 2:18] = True
    return body


def test_a_spread_of_the_errors_size_is_calibrated(mask, rng):
    spread = rng.uniform(0.05, 0.5, SHAPE)
    error = rng.normal(0, spread)
    curve = calibration(spread, error, mask)
    assert curve.miscalibration < 0.12
    assert curve.error == pytest.approx(curve.spread, rel=0.25)
    expected = spearmanr(spread[mask], np.abs(error)[mask]).statistic
    assert curve.correlation == pytest.approx(expected)
    assert curve.correlation > 0.4


@pytest.mark.parametrize(("factor", "expected"), [(0.5, 1.0), (2.0, 0.5)])
def test_miscalibration_is_how_far_off_the_spread_is(mask, rng, factor: float, expected: float):
    error = rng.uniform(0.1, 0.3, SHAPE) * rng.choice([-1, 1], SHAPE)
    curve = calibration(factor * np.abs(error), error, mask)
    assert curve.miscalibration == pytest.approx(expected)
    assert curve.correlation == pytest.approx(1)


def test_a_spread_that_knows_nothing_has_no_correlation(mask, rng):
    curve = calibration(rng.uniform(0, 1, SHAPE), rng.normal(size=SHAPE), mask)
    assert abs(curve.correlation) < 0.06


def test_no_spread_is_no_uncertainty(mask, rng):
    curve = calibration(np.zeros(SHAPE), rng.normal(size=SHAPE), mask)
    assert np.isnan(curve.correlation)
    assert np.isnan(curve.miscalibration)
    few = np.zeros(SHAPE, bool)
    few.flat[:9] = True
    with pytest.raises(ValueError, match="9 voxels"):
        calibration(np.zeros(SHAPE), np.zeros(SHAPE), few)


def test_flip_spread_is_where_mirroring_changes_the_answer(mask, rng):
    scan = rng.uniform(-1, 1, SHAPE).astype(np.float32)
    side = np.zeros(SHAPE, np.float32)
    side[:10] = 0.4  # adds to what lies on one side, whatever it is
    assert flip_spread(lambda s, m: -s, scan, mask).max() == 0
    spread = flip_spread(lambda s, m: s + side, scan, mask)
    assert spread == pytest.approx(0.4 / np.sqrt(2), abs=1e-6)
