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
_FINE_LEVELS = 128  # of intensity, for the mapping of intensities alone
_LEVELS, _COARSE_LEVELS = 24, 12  # of intensity and of its neighbourhood's, for what is left
_DEPTHS = (4.0, 8.0, 12.0, 20.0, 32.0)  # mm
_BLOCK = 24.0  # mm
_ENOUGH = 30.0  # voxels alike at which half of what they have in common is believed


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
    intensity = scan[mask].astype(np.float64)
    joint, count = _looks(scan, mask, spacing)
    halves = _halves(mask.shape, spacing)[mask]
    values = translation[mask].astype(np.float64)
    expected = np.empty_like(values)
    for half in (False, True):
        fitted, applied = halves != half, halves == half
        if not fitted.any():  # a body smaller than a block
            fitted = applied
        curve = _mean_curve(intensity[fitted], values[fitted])
        left = values[fitted] - np.interp(intensity[fitted], *curve)
        around = _shrunken_means(joint[fitted], left, count)
        expected[applied] = np.interp(intensity[applied], *curve) + around[joint[applied]]
    whole = translation.astype(np.float32, copy=True)
    whole[mask] = expected
    return whole


Values = NDArray[np.float64]
Bins = NDArray[np.intp]


def _mean_curve(intensity: Values, values: Values) -> tuple[Values, Values]:
    """Mean intensities of fine bins and the mean translation there, for `np.interp`."""
    bins = _level(intensity, _FINE_LEVELS)
    count = np.bincount(bins, minlength=_FINE_LEVELS)
    have = count > 0
    return tuple(  # type: ignore[return-value]
        np.bincount(bins, of, _FINE_LEVELS)[have] / count[have] for of in (intensity, values)
    )


def _shrunken_means(bins: Bins, values: Values, count: int) -> Values:
    """(count,) each bin's mean, drawn to 0 where few voxels are in it."""
    total = np.bincount(bins, values, count)
    means: Values = total / (np.bincount(bins, minlength=count) + _ENOUGH)
    return means


def _looks(scan: Array, mask: Mask, spacing: Spacing) -> tuple[Bins, int]:
    """Which voxels of the mask look alike: each one's bin, and the number of bins."""
    smooth = gaussian_filter(scan, [_NEIGHBOURHOOD / step for step in spacing])
    depth = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    coarse = _level(smooth[mask], _COARSE_LEVELS)
    deep = np.digitize(depth[mask], _DEPTHS)
    deeps = len(_DEPTHS) + 1
    joint = (_level(scan[mask], _LEVELS) * _COARSE_LEVELS + coarse) * deeps + deep
    return joint, _LEVELS * _COARSE_LEVELS * deeps


def _level(values: NDArray[np.floating], levels: int) -> Bins:
    """Even bins of [-1, 1]."""
    return np.clip(((values + 1) / 2 * levels).astype(np.intp), 0, levels - 1)


def _halves(shape: tuple[int, ...], spacing: Spacing) -> Mask:
    """Blocks of a checkerboard in space."""
    parity = sum(
        np.floor(axis * step / _BLOCK)
        for axis, step in zip(np.indices(shape, sparse=True), spacing, strict=True)
    )
    return np.asarray(parity % 2 == 1)
