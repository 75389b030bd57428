"""Blobs of any place and size in a volume: the simple lesion detector.

A difference of Gaussians at several sizes (Lindeberg 1998, "Feature detection with automatic scale
selection", Int. J. Comput. Vis. 30; Marr & Hildreth 1980 for the difference in the Laplacian's
place, which voxels thicker than the blob do not upset), scaled so that a ball of the size answers
with its own contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.evaluation.hallucination.blobs import Spacing, ball, visible_sizes

DETECTED_SIZES = (3.0, 4.0, 6.0, 8.0, 12.0)  # mm

_RATIO = 1.6  # of the two Gaussians' widths, the best likeness of a Laplacian


@dataclass(frozen=True)
class Detection:
    """A blob that was found.

    Attributes:
        center: its middle voxel.
        diameter: mm.
        contrast: of a ball of that size that would answer as strongly; in the array's units.
    """

    center: tuple[int, int, int]
    diameter: float
    contrast: float


def blob_response(array: Array, diameter: float, spacing: Spacing) -> Array:
    """The contrast of a ball of this size around every voxel.

    Args:
        array: (X, Y, Z).
        diameter: mm.
        spacing: voxel size (mm).

    Returns:
        (X, Y, Z) float32 in the array's units, positive where the middle is brighter.
    """
    margin = 2 * diameter
    alone = ball(diameter, spacing, margin)
    middle = tuple(n // 2 for n in alone.shape)
    unit = float(_difference(alone, diameter, spacing)[middle])
    return _difference(np.asarray(array, np.float32), diameter, spacing) / unit


def responses(
    array: Array, spacing: Spacing, sizes: Sequence[float] = DETECTED_SIZES
) -> dict[float, Array]:
    """Diameter (mm) → `blob_response`, of those that are large enough to be seen."""
    return {size: blob_response(array, size, spacing) for size in visible_sizes(sizes, spacing)}


def detect_blobs(
    found: dict[float, Array], mask: Mask, spacing: Spacing, least: float | dict[float, float]
) -> list[Detection]:
    """The local extremes of the responses over places and sizes, strongest first.

    A blob that lies with its middle in a stronger one is part of that.

    Args:
        found: as `responses` gives them.
        mask: where the middles may lie.
        spacing: voxel size (mm).
        least: smallest contrast, of all sizes or of each.
    """
    candidates: list[Detection] = []
    for diameter, response in found.items():
        strength = np.where(mask, np.abs(response), 0)
        reach = [2 * max(1, round(diameter / 2 / step)) + 1 for step in spacing]
        floor = least[diameter] if isinstance(least, dict) else least
        peaks = (strength >= floor) & (strength > 0)
        peaks &= strength == maximum_filter(strength, reach)
        for x, y, z in zip(*np.nonzero(peaks), strict=True):
            center = (int(x), int(y), int(z))
            candidates.append(Detection(center, diameter, float(response[center])))
    candidates.sort(key=lambda blob: (-abs(blob.contrast), blob.center))
    kept: list[Detection] = []
    for blob in candidates:
        if all(_distance(blob, other, spacing) > _reach(blob, other) for other in kept):
            kept.append(blob)
    return kept


def _reach(blob: Detection, other: Detection) -> float:
    return max(blob.diameter, other.diameter) / 2


def _distance(blob: Detection, other: Detection, spacing: Spacing) -> float:
    """Between middles (mm)."""
    steps = np.subtract(blob.center, other.center) * np.asarray(spacing)
    return float(np.sqrt((steps**2).sum()))


def _difference(array: Array, diameter: float, spacing: Spacing) -> Array:
    # A Laplacian of Gaussian answers a ball of radius r most at sigma = r / sqrt(3); the two
    # Gaussians' mean width is put there.
    sigma = diameter / (2 * np.sqrt(3)) / np.sqrt(_RATIO)
    narrow, wide = (
        gaussian_filter(array, [width / step for step in spacing], mode="nearest", truncate=3.0)
        for width in (sigma, sigma * _RATIO)
    )
    return narrow - wide
