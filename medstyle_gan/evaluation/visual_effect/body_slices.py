"""Slices of a volume as a reader compares them: evenly spread over the body, black around it.

What lies outside the body is noise in a real volume and one value in a translation. That tells
one from the other at once and says nothing of the patient, so it is taken out of both.
"""

from __future__ import annotations

import numpy as np

from medstyle_gan.data.body import body_box
from medstyle_gan.data.slices import stacked_axis, to_slices
from medstyle_gan.evaluation.chapter import Array, Mask

BLACK = -1.0
# Slices that the body only just reaches are mostly black, whatever made them.
_LEAST_SHARE = 0.25


def body_positions(mask: Mask, plane: str, count: int) -> list[int]:
    """Positions of slices that show a good part of the body, evenly spread.

    Args:
        mask: bool (X, Y, Z), not empty.
        plane: `axial`, `coronal` or `sagittal`.
        count: how many at most.

    Returns:
        Rising positions along the plane's axis, at least one, among those slices that hold a
        quarter or more of what the fullest slice holds of the body.
    """
    areas = to_slices(mask[None], plane).sum(axis=(1, 2, 3))
    full = np.flatnonzero(areas >= _LEAST_SHARE * areas.max())
    if len(full) <= count:
        return [int(place) for place in full]
    middles = (np.arange(count) + 0.5) / count * len(full) - 0.5
    return [int(full[place]) for place in np.rint(middles).astype(int)]


def body_slices(array: Array, mask: Mask, plane: str, positions: list[int]) -> tuple[Array, Mask]:
    """Slices cut to the body's box, black outside the body.

    Args:
        array: (X, Y, Z) in [-1, 1]; what lies beyond is clipped.
        mask: bool (X, Y, Z), not empty.
        plane: see `body_positions`.
        positions: which slices.

    Returns:
        The slices, (n, h, w) float32 in [-1, 1], and the body in them, bool (n, h, w).
    """
    box = [slice(first, last + 1) for first, last in body_box(mask)]
    box[stacked_axis(plane)] = slice(None)
    inside = to_slices(mask[tuple(box)][None], plane)[positions, 0]
    images = to_slices(array[tuple(box)][None], plane)[positions, 0].clip(-1, 1)
    return np.where(inside, images, np.float32(BLACK)).astype(np.float32), inside
