"""Do a translation's slices follow each other as those of real volumes do?

A network of slices translates each on its own; where neighbours come out with other intensities
the volume flickers as one scrolls through it. A reader who reformats it sees stripes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.data.slices import stacked_axis

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


def adjacent_slice_difference(array: Array, mask: Mask, plane: str = "axial") -> float:
    """The mean absolute difference of voxels that lie in the body in adjacent slices.

    Args:
        array: (X, Y, Z), axes R, A, S.
        mask: bool (X, Y, Z), the body.
        plane: The plane of the slices.

    Returns:
        In the array's units, at least 0.

    Raises:
        ValueError: No voxel lies in the body in two adjacent slices.
    """
    axis = stacked_axis(plane)
    values, inside = np.moveaxis(array, axis, 0), np.moveaxis(mask, axis, 0)
    both = inside[1:] & inside[:-1]
    if not both.any():
        raise ValueError("no two adjacent slices share a voxel of the body")
    return float(np.abs(np.diff(values.astype(np.float64), axis=0))[both].mean())


def slice_consistency(
    translation: tuple[Array, Mask], style: Iterable[tuple[Array, Mask]], plane: str = "axial"
) -> float:
    """The translation's adjacent-slice difference over that of real style volumes.

    Args:
        translation: The array in [-1, 1] and its body.
        style: Real style volumes alike, in the same units, with slices as far apart.
        plane: The plane of the slices.

    Returns:
        1 where slices change as much as in real volumes; more is flicker, less is blur. What is
        asked of a good translation is 0.9 to 1.1.

    Raises:
        ValueError: See `adjacent_slice_difference`; or there is no style volume, or all of their
            slices are equal.
    """
    real = [adjacent_slice_difference(array, mask, plane) for array, mask in style]
    if not real or not np.mean(real):
        raise ValueError("there is nothing to compare with: give style volumes whose slices differ")
    return adjacent_slice_difference(*translation, plane) / float(np.mean(real))
