"""Edges, whatever their contrast: the magnitude of a volume's gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medstyle_gan.evaluation.chapter import Array, Mask

# Standard deviation of what smooths the noise away before (of the finest voxels).
_SMOOTHING = 0.7


def edges(array: Array, spacing: Sequence[float]) -> NDArray[np.float32]:
    """The magnitude of the gradient: central differences of the slightly smoothed volume.

    Args:
        array: (X, Y, Z), any units.
        spacing: voxel size (mm).

    Returns:
        (X, Y, Z), at least 0, in units a mm.
    """
    widths = [
        _SMOOTHING * min(spacing) / size if length > 1 else 0.0
        for size, length in zip(spacing, array.shape, strict=True)
    ]
    smooth = gaussian_filter(array.astype(np.float32), widths, mode="nearest")
    squares = np.zeros(array.shape, dtype=np.float32)
    for axis, size in enumerate(spacing):
        if array.shape[axis] > 1:
            squares += (np.gradient(smooth, axis=axis) / np.float32(size)) ** 2
    return np.sqrt(squares)


def gradient_correlation(
    first: NDArray[np.floating], second: NDArray[np.floating], mask: Mask
) -> float:
    """Pearson's correlation of two volumes' edges inside a mask.

    Magnitudes, not vectors as of Penney et al. 1998: between contrasts an edge may turn over,
    and a faithful translation turns it over.

    Args:
        first: edges (X, Y, Z), as `edges` gives them.
        second: edges (X, Y, Z).
        mask: bool (X, Y, Z).

    Returns:
        In [-1, 1]; 0 where either has no edges in the mask.
    """
    inside, other = first[mask].astype(np.float64), second[mask].astype(np.float64)
    if inside.size < 2 or np.ptp(inside) < 1e-12 or np.ptp(other) < 1e-12:
        return 0.0
    return float(np.corrcoef(inside, other)[0, 1])
