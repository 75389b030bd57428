"""Does a candidate do the same wherever and whichever way round the anatomy lies?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_erosion, rotate

from medstyle_gan.evaluation.chapter import Array, Candidate, Mask, Subject
from medstyle_gan.evaluation.scoring import UNIT_RANGE

_SHIFT = 3  # voxels along R and A: no multiple of what networks reduce by
_DEGREES = 5.0
_ERODED = 2  # voxels at the mask's edge that interpolation blurs

CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]]
CHANGES = {
    "flip": (lambda a: a[::-1], lambda a: a[::-1]),
    "shift": (
        lambda a: np.roll(a, (_SHIFT, _SHIFT), (0, 1)),
        lambda a: np.roll(a, (-_SHIFT, -_SHIFT), (0, 1)),
    ),
    "rotation": (lambda a: _turned(a, _DEGREES), lambda a: _turned(a, -_DEGREES)),
}


def equivariance_errors(candidate: Candidate, subject: Subject) -> dict[str, float]:
    """How far changing and then translating is from translating and then changing.

    Args:
        candidate: what is looked at.
        subject: whose scan.

    Returns:
        For `flip` (left-right), `shift` (3 voxels) and `rotation` (5 degrees, in the axial
        plane) the mean absolute difference inside the mask, as a share of the range.
    """
    plain = candidate(subject.scan, subject.mask)
    errors = {}
    for name, (change, back) in CHANGES.items():
        scan = np.ascontiguousarray(change(subject.scan))
        mask = np.ascontiguousarray(change(subject.mask.astype(np.float32)) >= 0.5)
        moved = candidate(scan, mask)
        if name == "rotation":
            # Interpolated as often as the other way, and compared where it is not undone.
            difference = moved - _turned(plain, _DEGREES)
            inside = _eroded(mask)
        else:
            difference, inside = back(moved) - plain, _eroded(subject.mask)
        errors[name] = float(np.abs(difference[inside]).mean(dtype=np.float64)) / UNIT_RANGE
    return errors


def _turned(array: Array, degrees: float) -> Array:
    turned = rotate(array, degrees, axes=(0, 1), reshape=False, order=1, mode="nearest")
    return np.asarray(turned, dtype=np.float32)


def _eroded(mask: Mask) -> Mask:
    """In plane, and the mask itself where nothing would be left."""
    cross = np.zeros((3, 3, 1), dtype=bool)
    cross[1, :, 0] = cross[:, 1, 0] = True
    smaller = binary_erosion(mask, cross, iterations=_ERODED)
    return np.asarray(smaller if smaller.any() else mask)
