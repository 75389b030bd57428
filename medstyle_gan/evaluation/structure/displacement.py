"""How far edges have moved: of the whole volume, and of each part of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from medstyle_gan.data.body import body_box
from medstyle_gan.evaluation.chapter import Mask

_UPSAMPLING = 20  # a twentieth of a voxel
_MARGIN = 8  # voxels around the mask
_BLOCK = 16  # voxels; shorter along axes that hold fewer
_OVERLAP = 0.5  # of a block that must lie in the mask
# A block's shift beyond this share of its side is a chance match.
_FARTHEST = 0.25
_MOST_BLOCKS = 160  # evenly drawn where there are more


def edge_shift(
    first: NDArray[np.floating], second: NDArray[np.floating], mask: Mask
) -> NDArray[np.float64]:
    """The shift of one volume's edges against another's, by phase correlation.

    The cross-correlation's peak, to a twentieth of a voxel (Guizar-Sicairos et al. 2008).

    Args:
        first: edges (X, Y, Z), as `edges` gives them.
        second: edges (X, Y, Z).
        mask: bool (X, Y, Z), not empty.

    Returns:
        (3,) voxels that `second` has to be moved by to lie on `first`.
    """
    box = tuple(slice(max(0, low - _MARGIN), high + 1 + _MARGIN) for low, high in body_box(mask))
    # Around the body there is nothing, so no window is needed.
    return _shift(first[box], second[box], np.float32(1))


def local_edge_shift(
    first: NDArray[np.floating], second: NDArray[np.floating], mask: Mask
) -> NDArray[np.float64]:
    """The shifts of blocks: a coarse estimate of a deformation.

    Args:
        first: edges (X, Y, Z).
        second: edges (X, Y, Z).
        mask: bool (X, Y, Z), not empty.

    Returns:
        (N, 3) voxels, of blocks that lie in the mask and whose edges could be matched, at most
        160 evenly drawn ones; N may be 0.
    """
    sides = [min(_BLOCK, n) for n in first.shape]
    starts = [_starts(bounds, side) for bounds, side in zip(body_box(mask), sides, strict=True)]
    window = _window(sides)
    farthest = np.maximum(1.0, _FARTHEST * np.array(sides))
    blocks = [
        tuple(slice(c, c + side) for c, side in zip(corner, sides, strict=True))
        for corner in product(*starts)
    ]
    blocks = [block for block in blocks if mask[block].mean() >= _OVERLAP]
    shifts = []
    for block in blocks[:: max(1, -(-len(blocks) // _MOST_BLOCKS))]:
        ours, theirs = first[block], second[block]
        if np.ptp(ours) < 1e-9 or np.ptp(theirs) < 1e-9:
            continue
        shift = _shift(ours, theirs, window)
        if (np.abs(shift) <= farthest).all():
            shifts.append(shift)
    return np.array(shifts, dtype=np.float64).reshape(-1, 3)


def _starts(bounds: tuple[int, int], side: int) -> Sequence[int]:
    first, last = bounds
    end = max(first, last + 1 - side)
    return list(range(first, end + 1, max(1, side // 2)))


def _window(sides: Sequence[int]) -> NDArray[np.float32]:
    """A Hann window, so that what leaves or enters a block at its rim says little."""
    window = np.ones(tuple(sides), dtype=np.float32)
    for axis, side in enumerate(sides):
        hann = np.hanning(side + 2)[1:-1] if side > 2 else np.ones(side)
        window *= np.expand_dims(hann, [a for a in range(3) if a != axis]).astype(np.float32)
    return window


def _shift(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    window: NDArray[np.float32] | np.float32,
) -> NDArray[np.float64]:
    """Of the second against the first, of which only what is in the window is looked for.

    With the same window on both, the windows themselves would match best where they are.
    """
    # Without the means, which would pull the peak to where the volumes overlap most.
    mean = np.average(first, weights=np.broadcast_to(window, first.shape))
    ours = (first - mean) * window
    shift, *_ = phase_cross_correlation(
        ours, second - second.mean(), upsample_factor=_UPSAMPLING, normalization=None
    )
    return np.asarray(shift, dtype=np.float64)
