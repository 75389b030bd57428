"""Do subjects that were imaged at both sites agree after translation as they should?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.evaluation.chapter import Array, Labels, Mask

_PARTS = 3  # along each axis, of a body without labels


def body_parts(mask: Mask) -> Labels:
    """The body's box cut in 27 like parts, for scans without labels; 0 outside the body."""
    labels = np.zeros(mask.shape, np.int32)
    for axis in range(3):
        inside = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis)))
        index = np.arange(mask.shape[axis]) - inside[0]
        part = np.clip(index * _PARTS // (inside[-1] - inside[0] + 1), 0, _PARTS - 1)
        shape = [-1 if a == axis else 1 for a in range(3)]
        labels = labels * _PARTS + part.reshape(shape).astype(np.int32)
    return np.where(mask, labels + 1, 0).astype(np.int32)


def regional_means(array: Array, labels: Labels, mask: Mask) -> dict[int, float]:
    """Label → mean intensity of its voxels in the mask."""
    inside = mask & (labels > 0)
    values = labels[inside]
    if values.size == 0:
        return {}
    totals, counts = np.bincount(values, array[inside]), np.bincount(values)
    return {int(label): float(totals[label] / counts[label]) for label in np.flatnonzero(counts)}


def concordance(ours: Sequence[float], true: Sequence[float]) -> float:
    """Lin's concordance correlation coefficient (Lin 1989, Biometrics 45).

    Unlike a correlation it is 1 only where the values are equal, not merely proportional.

    Args:
        ours: one value each.
        true: of the same.

    Returns:
        In [-1, 1]; NaN of fewer than two, or where nothing varies.
    """
    a: NDArray[np.float64] = np.asarray(ours, np.float64)
    b: NDArray[np.float64] = np.asarray(true, np.float64)
    if a.size < 2:
        return float("nan")
    scatter = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    if scatter == 0:
        return float("nan")
    return float(2 * ((a - a.mean()) * (b - b.mean())).mean() / scatter)
