"""MIND, a description of local structure that does not depend on contrast (Heinrich et al. 2012).

"MIND: Modality independent neighbourhood descriptor for multi-modal deformable registration",
Medical Image Analysis 16(7).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medstyle_gan.evaluation.chapter import Array, Mask

_OFFSETS = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
_PATCH = 0.5  # standard deviation of the Gaussian that weights a patch (voxels)
_REACH = 3.0  # standard deviations
# Bounds of the local variance, relative to its mean, as the paper has them.
_VARIANCE = (1e-3, 1e3)


def mind(array: Array) -> NDArray[np.float32]:
    """How much each voxel's surroundings are like those of its six neighbours.

    Args:
        array: (X, Y, Z), any units.

    Returns:
        (6, X, Y, Z) in (0, 1], the largest of each voxel being 1; it does not change where the
        array's values are scaled, shifted or turned over.
    """
    values = array.astype(np.float32)
    distances = np.empty((len(_OFFSETS), *array.shape), dtype=np.float32)
    for part, offset in zip(distances, _OFFSETS, strict=True):
        moved = _moved(values, offset)
        gaussian_filter((values - moved) ** 2, _PATCH, truncate=_REACH, output=part)
    variance = distances.mean(axis=0)
    mean = float(variance.mean())
    if mean == 0:  # nothing but one value
        return np.ones_like(distances)
    np.clip(variance, _VARIANCE[0] * mean, _VARIANCE[1] * mean, out=variance)
    # The nearest neighbour to 1 before the exponential, which could be 0 for all of them.
    distances -= distances.min(axis=0)
    return np.exp(-distances / variance)


def mind_distance(first: NDArray[np.float32], second: NDArray[np.float32], mask: Mask) -> float:
    """The mean absolute difference of two descriptions inside a mask.

    Args:
        first: (6, X, Y, Z), as `mind` gives it.
        second: (6, X, Y, Z).
        mask: bool (X, Y, Z), not empty.

    Returns:
        In [0, 1).
    """
    return float(np.abs(first - second)[:, mask].mean(dtype=np.float64))


def _moved(array: NDArray[np.float32], offset: tuple[int, ...]) -> NDArray[np.float32]:
    """The array as each voxel's neighbour sees it, the border being its own neighbour."""
    padded = np.pad(array, 1, mode="edge")
    index = tuple(slice(1 + o, 1 + o + n) for o, n in zip(offset, array.shape, strict=True))
    return padded[index]
