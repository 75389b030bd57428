"""Blobs of any place and size in a volume: the simple lesion detector.

A difference of Gaussians at several sizes (Lindeberg 1998, "Feature detection with automatic scale
selection", Int. J. Comput. Vis. 30; Marr & Hildreth 1980 for the difference in the Laplacian's
place, which voxels thicker than the blob do not upset), scaled so that a ball of the size answers
with its own contrast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
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
    unit = _unit_response(diameter, spacing)
    return _difference(np.asarray(array, np.float32), diameter, spacing) / unit


@lru_cache(maxsize=64)
def _unit_response(diameter: float, spacing: Spacing) -> float:
    """What a ball of contrast 1 answers with in its middle."""
    alone = ball(diameter, spacing, margin=2 * diameter)
    x, y, z = (n // 2 for n in alone.shape)
    return float(_difference(alone, diameter, spacing)[x, y, z])


def responses(
    array: Array, spacing: Spacing, sizes: Sequence[float] = DETECTED_SIZES
) -> dict[float, Array]:
    """Diameter (mm) → `blob_response`, of those that are large enough to be seen."""
    return {size: blob_response(array, size, spacing) for size in visible_sizes(sizes, spacing)}


def detect_blobs(
    found: Mapping[float, Array],
    mask: Mask,
    spacing: Spacing,
    least: float | Mapping[float, float],
) -> Iterator[Detection]:
    """The local extremes of the responses over places and sizes, strongest first.

    A blob that lies with its middle in a stronger one is part of that.

    Args:
        found: as `responses` gives them.
        mask: where the middles may lie.
        spacing: voxel size (mm).
        least: smallest contrast, of all sizes or of each.

    Yields:
        The blobs; each costs only when it is asked for.
    """
    peaks = [
        _peaks(response, diameter, mask, spacing, _of(least, diameter))
        for diameter, response in found.items()
    ]
    if not peaks:
        return
    # (n, 5): voxel, diameter, contrast.
    rows = np.concatenate(peaks)
    rows = rows[np.lexsort((*rows[:, 2::-1].T, -np.abs(rows[:, 4])))]
    places = rows[:, :3] * np.asarray(spacing)
    radii = rows[:, 3] / 2
    kept: list[int] = []
    for index, row in enumerate(rows):
        apart = np.linalg.norm(places[kept] - places[index], axis=1)
        if (apart <= np.maximum(radii[kept], radii[index])).any():
            continue
        kept.append(index)
        x, y, z = (int(value) for value in row[:3])
        yield Detection((x, y, z), float(row[3]), float(row[4]))


def _peaks(
    response: Array, diameter: float, mask: Mask, spacing: Spacing, least: float
) -> NDArray[np.float64]:
    """(n, 5): voxel, diameter and contrast of one size's local extremes."""
    strength = np.where(mask, np.abs(response), 0)
    reach = [2 * max(1, round(diameter / 2 / step)) + 1 for step in spacing]
    peaks = (strength >= least) & (strength > 0)
    if peaks.any():
        peaks &= strength == maximum_filter(strength, reach)
    voxels = np.argwhere(peaks)
    sizes = np.full(len(voxels), diameter)
    return np.column_stack([voxels, sizes, response[peaks]]).astype(np.float64)


def _of(least: float | Mapping[float, float], diameter: float) -> float:
    return least[diameter] if isinstance(least, Mapping) else least


def _difference(array: Array, diameter: float, spacing: Spacing) -> Array:
    # A Laplacian of Gaussian answers a ball of radius r most at sigma = r / sqrt(3); the two
    # Gaussians' mean width is put there.
    sigma = diameter / (2 * np.sqrt(3)) / np.sqrt(_RATIO)
    narrow, wide = (
        gaussian_filter(array, [width / step for step in spacing], mode="nearest", truncate=3.0)
        for width in (sigma, sigma * _RATIO)
    )
    return narrow - wide
