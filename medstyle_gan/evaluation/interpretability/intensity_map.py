"""What a translator makes of each intensity: the joint histogram of scan and translation.

A generator that only maps intensities is a curve; what scatters around the curve is what it made of
a voxel's surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.evaluation.chapter import Array, Mask

BINS = 64
EDGES = np.linspace(-1.0, 1.0, BINS + 1)


@dataclass(frozen=True)
class IntensityMap:
    """Of the voxels in a mask, all intensities in [-1, 1].

    Attributes:
        counts: (64, 64) voxels by the scan's intensity (rows) and the translation's (columns), in
            bins between `EDGES`.
        mean: (64,) mean translation of each of the scan's bins; NaN where there is no voxel.
        deviation: (64,) standard deviation likewise.
        explained: share of the translation's variance that `mean` explains (the correlation
            ratio η²): 1 for a map of intensities alone; NaN where the translation is constant.
    """

    counts: NDArray[np.int64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    explained: float


def intensity_map(scan: Array, translation: Array, mask: Mask) -> IntensityMap:
    """The effective map of intensities in a mask.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        translation: (X, Y, Z) in [-1, 1].
        mask: bool (X, Y, Z), not empty.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask is empty")
    given = scan[mask].astype(np.float64)
    made = translation[mask].astype(np.float64)
    place = intensity_bin(given)
    counts = np.zeros((BINS, BINS), np.int64)
    np.add.at(counts, (place, intensity_bin(made)), 1)
    voxels = np.bincount(place, minlength=BINS)
    empty = voxels == 0
    safe = np.where(empty, 1, voxels)
    mean = np.bincount(place, made, BINS) / safe
    squares = np.bincount(place, (made - mean[place]) ** 2, BINS)
    total = np.square(made - made.mean()).sum()
    return IntensityMap(
        counts,
        np.where(empty, np.nan, mean),
        np.where(empty, np.nan, np.sqrt(squares / safe)),
        float(1 - squares.sum() / total) if total > 0 else float("nan"),
    )


def intensity_bin(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """The bin of each intensity; what lies beyond [-1, 1] is in the outermost."""
    return ((values + 1) / 2 * BINS).astype(np.int64).clip(0, BINS - 1)


def unexplained(scan: Array, translation: Array, mask: Mask) -> Array:
    """How far each voxel's translation is from what its intensity alone would give.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        translation: (X, Y, Z) in [-1, 1].
        mask: bool (X, Y, Z), not empty.

    Returns:
        (X, Y, Z) float32, 0 outside the mask.
    """
    mean = intensity_map(scan, translation, mask).mean
    rest = translation - mean[intensity_bin(scan)]
    return np.where(mask, rest, 0).astype(np.float32)
