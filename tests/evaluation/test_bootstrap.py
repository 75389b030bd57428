from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from medstyle_gan.evaluation.bootstrap import confidence_interval


def test_it_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        low, high = confidence_interval(rng.normal(3, 1, 25), seed)
        covered += low <= 3 <= high
    assert 50 <= covered <= 60


def test_it_is_near_students_interval_for_normal_values() -> None:
    values = np.random.default_rng(1).normal(10, 2, 60)
    half = t.ppf(0.975, 59) * values.std(ddof=1) / np.sqrt(60)
    low, high = confidence_interval(values)
    assert low == pytest.approx(values.mean() - half, abs=0.15)
    assert high == pytest.approx(values.mean() + half, abs=0.15)


@pytest.mark.parametrize("values", [[1.0] * 5, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, np.inf], []])
def test_no_interval_where_there_can_be_none(values: list[float]) -> None:
    assert confidence_interval(values) is None


def test_equal_values_have_an_interval_of_one_point() -> None:
    assert confidence_interval([2.0] * 6) == (2.0, 2.0)


def test_the_seed_decides() -> None:
    values = [1.0, 2, 4, 8, 16, 32]
    assert confidence_interval(values, 3) == confidence_interval(values, 3)
    assert confidence_interval(values, 3) != confidence_interval(values, 4)
