"""What a translation would be if it only mapped the tissue that the scan shows at each place.

The mean translation of voxels that look alike in the scan: the same intensity, the same
neighbourhood (its smoothed intensity, which tells skull from fluid where both are dark) and the
same depth below the body's surface. It is fitted to one half of the body in blocks and applied to
the other, so that what is painted at a place cannot explain itself. What then remains is what the
translation has and the scan does not foretell: a hallucination map in the sense of Bhadra et al.
2021, "On hallucinations in tomographic image reconstruction" (IEEE Trans. Med. Imaging 40), with a
mapping of intensities in the measurement's place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.evaluation.hallucination.blobs import Spacing

_NEIGHBOURHOOD = 3.0  # mm
_LEVELS, _COARSE_LEVELS = 32, 12  # of intensity, and of smoothed intensity
_DEPTHS = (4.0, 8.0, 12.0, 20.0, 32.0)  # mm
_BLOCK = 24.0  # mm
_ENOUGH = 30.0  # voxels alike that weigh as much as all with the same intensity


def expected_translation(scan: Array, translation: Array, mask: Mask, spacing: Spacing) -> Array:
    """The mapping that the translation itself shows, applied to the scan.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        translation: (X, Y, Z).
        mask: the body.
        spacing: voxel size (mm).

    Returns:
        (X, Y, Z) float32; outside the mask the translation itself.
    """
    fine, joint, sizes = _looks(scan, mask, spacing)
    halves = _halves(mask.shape, spacing)[mask]
    values = translation[mask].astype(np.float64)
    expected = np.empty_like(values)
    for half in (False, True):
        fitted, applied = halves != half, halves == half
        if not fitted.any():  # a body smaller than a block
            fitted = applied
        expected[applied] = _conditional_mean(
            (fine[fitted], joint[fitted], values[fitted]), (fine[applied], joint[applied]), sizes
        )
    whole = translation.astype(np.float32, copy=True)
    whole[mask] = expected
    return whole


Bins = NDArray[np.intp]


def _looks(scan: Array, mask: Mask, spacing: Spacing) -> tuple[Bins, Bins, tuple[int, int]]:
    """What each voxel of the mask looks like: its intensity's bin, and its joint bin."""
    smooth = gaussian_filter(scan, [_NEIGHBOURHOOD / step for step in spacing])
    depth = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    fine = _level(scan[mask], _LEVELS)
    coarse = _level(smooth[mask], _COARSE_LEVELS)
    deep = np.digitize(depth[mask], _DEPTHS)
    count = len(_DEPTHS) + 1
    joint = (fine * _COARSE_LEVELS + coarse) * count + deep
    return fine, joint, (_LEVELS, _LEVELS * _COARSE_LEVELS * count)


def _level(values: Array, levels: int) -> Bins:
    """Even bins of [-1, 1]."""
    return np.clip(((values + 1) / 2 * levels).astype(np.intp), 0, levels - 1)


def _halves(shape: tuple[int, ...], spacing: Spacing) -> Mask:
    """Blocks of a checkerboard in space."""
    parity = sum(
        np.floor(axis * step / _BLOCK)
        for axis, step in zip(np.indices(shape, sparse=True), spacing, strict=True)
    )
    return np.asarray(parity % 2 == 1)


def _conditional_mean(
    known: tuple[Bins, Bins, NDArray[np.float64]], asked: tuple[Bins, Bins], sizes: tuple[int, int]
) -> NDArray[np.float64]:
    """The mean of voxels alike, drawn to that of the same intensity where there are few.

    An intensity that the known half does not have takes the means of the nearest that it has.
    """
    fine, joint, values = known
    fine_count = np.bincount(fine, minlength=sizes[0])
    have = np.flatnonzero(fine_count)
    means = np.bincount(fine, values, sizes[0])[have] / fine_count[have]
    by_level = np.interp(np.arange(sizes[0]), have, means)
    joint_count = np.bincount(joint, minlength=sizes[1])
    joint_sum = np.bincount(joint, values, sizes[1])
    asked_fine, asked_joint = asked
    prior = by_level[asked_fine]
    result: NDArray[np.float64] = (joint_sum[asked_joint] + _ENOUGH * prior) / (
        joint_count[asked_joint] + _ENOUGH
    )
    return result
