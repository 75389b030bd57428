"""The mean style intensity of each scan intensity, learned from pseudo-pairs: no network, no pair.

What of a change of contrast is a function of the intensity alone, rising or not: the conditional
mean of a joint histogram, smoothed over scan intensities (Nadaraya 1964, Watson 1964), which of
all such functions has the smallest squared error on the pairs that it is learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from medstyle_gan.data.cached_foreground import array_and_foreground
from medstyle_gan.data.pseudo_pairs import PseudoPairs
from medstyle_gan.data.slices import from_slices

LEVELS = 256
# Of the kernel over scan intensities, in levels.
_DEVIATION = 2.0
# Levels with a smaller share of the voxels are interpolated: a few voxels are noise, and someone's.
_LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class IntensityMap:
    """A function of the intensity, from scans to style.

    Attributes:
        values: the style intensity in [-1, 1] of each of 256 scan intensities, evenly spaced
            from -1 to 1.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.values) != LEVELS or not np.isfinite(self.values).all():
            raise ValueError(f"an intensity map holds {LEVELS} finite numbers")

    def __call__(self, scan: ArrayLike) -> NDArray[np.float32]:
        """Style intensities of scan intensities in [-1, 1], linear between levels."""
        levels = np.linspace(-1, 1, LEVELS)
        return np.interp(np.asarray(scan), levels, self.values).astype(np.float32)

    @classmethod
    def read(cls, values: Sequence[float] | None) -> Self | None:
        """The map of 256 stored numbers; None for none."""
        return None if values is None else cls(tuple(map(float, values)))

    @classmethod
    def of_histogram(cls, counts: ArrayLike, sums: ArrayLike) -> Self:
        """Smooths what was counted.

        Args:
            counts: (256,) voxels of each scan intensity; not all 0.
            sums: (256,) their style intensities added up.
        """
        smooth_counts, smooth_sums = (
            gaussian_filter1d(np.asarray(part, np.float64), _DEVIATION, mode="constant")
            for part in (counts, sums)
        )
        known = np.flatnonzero(smooth_counts >= _LEAST_SHARE * np.sum(counts))
        means = smooth_sums[known] / smooth_counts[known]
        return cls(tuple(map(float, np.interp(np.arange(LEVELS), known, means))))


def learn_intensity_map(pairs: PseudoPairs, plane: str) -> IntensityMap | None:
    """Learns from the voxels that lie in both bodies, where a pair can be believed.

    Each pair counts the same.

    Args:
        pairs: scans with registered style volumes.
        plane: that they were sliced in.

    Returns:
        None where the style collection is in colour, or no pair has such a voxel.
    """
    if any(pair.style.channels != 1 for pair in pairs.kept):
        return None
    counts, sums = np.zeros(LEVELS), np.zeros(LEVELS)
    opened: Path | None = None
    for pair in sorted(pairs.kept, key=lambda pair: pair.scan.path):
        if pair.scan.path != opened:  # finding the body takes longest, and a scan has many pairs
            scan, body = array_and_foreground(pair.scan, plane)
            opened = pair.scan.path
        believed = body & (from_slices(pair.weight.slices, plane)[0] > 0.5)
        style = from_slices(pair.style.slices, plane)[0]
        if believed.any():
            shares, means = _histogram(scan[believed], style[believed])
            counts += shares
            sums += means
    return IntensityMap.of_histogram(counts, sums) if counts.any() else None


def _histogram(
    scan: NDArray[np.float32], style: NDArray[np.float32]
) -> Sequence[NDArray[np.float64]]:
    """Counts and sums by scan intensity, both divided by the number of voxels."""
    level = np.clip(np.rint((scan + 1) / 2 * (LEVELS - 1)), 0, LEVELS - 1).astype(np.int64)
    return [np.bincount(level, w, LEVELS) / len(level) for w in (None, style.astype(np.float64))]
