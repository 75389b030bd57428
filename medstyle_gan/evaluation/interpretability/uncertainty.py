"""Does the spread of several translations tell where the translation is wrong?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from medstyle_gan.evaluation.chapter import Array, Candidate, Mask

GROUPS = 10
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Calibration:
    """How spread and error go together in a mask.

    Attributes:
        correlation: Spearman's rank correlation of a voxel's spread and absolute error; NaN where
            either is constant.
        spread: (10,) root mean square spread of tenths of the voxels, by rising spread.
        error: (10,) root mean square error of the same voxels.
        miscalibration: expected normalised calibration error (Levi et al. 2022): the mean of
            |spread − error| / spread over the tenths, 0 where the spread is the error's size;
            NaN where there is no spread.
    """

    correlation: float
    spread: NDArray[np.float64]
    error: NDArray[np.float64]
    miscalibration: float


def flip_spread(candidate: Candidate, scan: Array, mask: Mask, axes: Sequence[int] = (0,)) -> Array:
    """Standard deviation over translations of a scan as it is and mirrored (Wang et al. 2019).

    Args:
        candidate: what translates.
        scan: (X, Y, Z) in [-1, 1].
        mask: bool (X, Y, Z).
        axes: along each of which the scan is mirrored once; left to right by default, as training
            does.

    Returns:
        (X, Y, Z) float32, of a sample (over n − 1).
    """
    seen = [np.asarray(candidate(scan, mask), np.float32)]
    for axis in axes:
        turned = np.ascontiguousarray(np.flip(scan, axis))
        body = np.ascontiguousarray(np.flip(mask, axis))
        seen.append(np.flip(candidate(turned, body), axis))
    return np.std(seen, axis=0, ddof=1).astype(np.float32)


def calibration(spread: Array, error: Array, mask: Mask) -> Calibration:
    """Compares spread and error in a mask.

    Args:
        spread: (X, Y, Z), at least 0.
        error: (X, Y, Z), of any sign, in the same units.
        mask: bool (X, Y, Z), 10 voxels or more.

    Raises:
        ValueError: the mask holds fewer.
    """
    given = spread[mask].astype(np.float64)
    made = np.abs(error[mask].astype(np.float64))
    if given.size < GROUPS:
        raise ValueError(f"{given.size} voxels are too few: {GROUPS} are needed")
    constant = np.ptp(given) <= _LEAST_SPREAD or np.ptp(made) == 0
    order = np.argsort(given, kind="stable")
    parts = np.array_split(order, GROUPS)
    spreads = np.array([np.sqrt(np.square(given[part]).mean()) for part in parts])
    errors = np.array([np.sqrt(np.square(made[part]).mean()) for part in parts])
    usable = spreads > _LEAST_SPREAD
    return Calibration(
        float("nan") if constant else float(spearmanr(given, made).statistic),
        spreads,
        errors,
        float((np.abs(spreads - errors)[usable] / spreads[usable]).mean())
        if usable.any()
        else float("nan"),
    )
