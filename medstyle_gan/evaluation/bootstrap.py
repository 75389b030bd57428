"""How sure a mean over subjects is: bootstrap confidence intervals, resampling subjects."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap

# With fewer, an interval says more about the method than about the subjects.
LEAST_SUBJECTS = 6
_RESAMPLES = 2000


def confidence_interval(
    values: Sequence[float], seed: int = 0, level: float = 0.95
) -> tuple[float, float] | None:
    """The confidence interval of the mean over subjects.

    Bias-corrected and accelerated (Efron 1987, "Better bootstrap confidence intervals").

    Args:
        values: One a subject.
        seed: Of the resampling.
        level: Of confidence, in (0, 1).

    Returns:
        Low and high end; None with fewer than 6 subjects or where a value is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < LEAST_SUBJECTS or not np.isfinite(sample).all():
        return None
    if (
        np.ptp(sample) <= 1e-9 * np.abs(sample).max()
    ):  # equal but for rounding: no spread to resample
        return float(sample[0]), float(sample[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate resamples, looked at below
        found = bootstrap(
            (sample,),
            np.mean,
            confidence_level=level,
            n_resamples=_RESAMPLES,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if np.isfinite([low, high]).all() else None
