"""Balls that stand for lesions: their partial volumes on a grid, and plausible places for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medstyle_gan.evaluation.chapter import Array, Mask

Box = tuple[slice, slice, slice]
Spacing = tuple[float, float, float]

SIZES = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # mm, diameters
CONTRASTS = (-0.4, -0.2, 0.2, 0.4)  # of the scan's range in the mask
RANGE_PERCENTILES = (2.0, 98.0)

_SUBVOXELS = 5  # along each axis
_MARGIN = 2.0  # mm between a blob and the border of the body
_APART = 6.0  # mm between the surfaces of two blobs
_LEAST_SHARE = 0.5  # of its middle voxel that a blob must fill to be visible at all
_PLAUSIBLE = (1.0, 99.0)  # percentiles of the body's intensities that lesions stay between
_LOCAL = 1.0  # mm, over which the tissue at a place is averaged


@dataclass(frozen=True)
class Blob:
    """A ball added to a scan.

    Attributes:
        center: the voxel of its middle.
        diameter: mm.
        contrast: what is added where it fills a voxel, as a share of the scan's range.
        amplitude: the same in [-1, 1] units.
    """

    center: tuple[int, int, int]
    diameter: float
    contrast: float
    amplitude: float


def intensity_range(array: Array, mask: Mask) -> float:
    """From the 2nd to the 98th percentile inside the mask, in the array's units."""
    low, high = np.percentile(array[mask], RANGE_PERCENTILES)
    return float(high - low)


def ball(diameter: float, spacing: Spacing, margin: float = 0.0) -> Array:
    """A ball's share of each voxel of a small box, the ball in its middle voxel's centre.

    Args:
        diameter: mm.
        spacing: voxel size (mm).
        margin: of the box around the ball (mm).

    Returns:
        (x, y, z) float32 in [0, 1], odd along each axis; it sums to the ball's volume in voxels.
    """
    half, wide = (
        [int(np.ceil(max(0.0, reach / step - 0.5))) for step in spacing]
        for reach in (diameter / 2, diameter / 2 + margin)
    )
    inner = (np.arange(_SUBVOXELS) + 0.5) / _SUBVOXELS - 0.5
    axes = [
        ((np.arange(-n, n + 1)[:, None] + inner) * step).ravel()
        for n, step in zip(half, spacing, strict=True)
    ]
    squared = sum(a**2 for a in np.meshgrid(*axes, indexing="ij", sparse=True))
    inside = np.asarray(squared <= (diameter / 2) ** 2, dtype=np.float32)
    parts = [size for n in half for size in (2 * n + 1, _SUBVOXELS)]
    share = inside.reshape(parts).mean(axis=(1, 3, 5))
    return np.pad(share, [(w - n, w - n) for w, n in zip(wide, half, strict=True)])


def visible_sizes(sizes: Sequence[float], spacing: Spacing) -> tuple[float, ...]:
    """The diameters that fill at least half of a voxel of this size."""
    return tuple(size for size in sizes if ball(size, spacing).max() >= _LEAST_SHARE)


def place(patch: Array, center: tuple[int, int, int], shape: Sequence[int]) -> tuple[Box, Array]:
    """Where a patch of odd size lies around a voxel, and the part of it inside the volume."""
    box, own = [], []
    for middle, size, length in zip(center, patch.shape, shape, strict=True):
        start = middle - size // 2
        first, last = max(start, 0), min(start + size, length)
        box.append(slice(first, last))
        own.append(slice(first - start, last - start))
    return (box[0], box[1], box[2]), patch[tuple(own)]


def draw_blobs(
    scan: Array,
    mask: Mask,
    spacing: Spacing,
    rng: np.random.Generator,
    sizes: Sequence[float] = SIZES,
    contrasts: Sequence[float] = CONTRASTS,
    avoid: Mask | None = None,
) -> tuple[Blob, ...]:
    """Blobs at random plausible places, at most one of each size and contrast.

    A place is plausible where the ball lies at least 2 mm inside the body, at least 6 mm from
    other balls and away from `avoid`, and where the tissue there, made brighter or darker, still
    has an intensity between the 1st and 99th percentile of the body's.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        mask: the body.
        spacing: voxel size (mm).
        rng: the source of places.
        sizes: diameters (mm); those too small for the voxels are left out.
        contrasts: shares of the scan's range.
        avoid: voxels that no blob may come near, such as lesions that are there already.

    Returns:
        As many as there is room for, largest first.
    """
    depth = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    free = np.full(mask.shape, np.inf, np.float32)
    if avoid is not None and avoid.any():
        free = distance_transform_edt(~avoid, sampling=spacing).astype(np.float32)
    local = gaussian_filter(scan, [_LOCAL / step for step in spacing])
    full = intensity_range(scan, mask)
    low, high = np.percentile(scan[mask], _PLAUSIBLE)
    blobs: list[Blob] = []
    for size in sorted(visible_sizes(sizes, spacing), reverse=True):
        room = (depth >= size / 2 + _MARGIN) & (free >= size / 2 + _APART)
        for contrast in rng.permutation(np.asarray(contrasts)):
            amplitude = float(contrast) * full
            after = local + amplitude
            places = np.flatnonzero(room & (after >= low) & (after <= high))
            if places.size == 0:
                continue
            x, y, z = np.unravel_index(int(rng.choice(places)), mask.shape)
            blob = Blob((int(x), int(y), int(z)), float(size), float(contrast), amplitude)
            blobs.append(blob)
            _keep_away(free, room, blob, size, spacing)
    return tuple(blobs)


def _keep_away(free: Array, room: Mask, blob: Blob, size: float, spacing: Spacing) -> None:
    """Takes a blob's surroundings out of the room, in place."""
    furthest = blob.diameter + max(SIZES) + 2 * _APART
    half = [int(np.ceil(furthest / step)) for step in spacing]
    grids = np.meshgrid(
        *(np.arange(-n, n + 1) * step for n, step in zip(half, spacing, strict=True)),
        indexing="ij",
        sparse=True,
    )
    distance = np.asarray(np.sqrt(sum(g**2 for g in grids)) - blob.diameter / 2, np.float32)
    box, near = place(distance, blob.center, free.shape)
    free[box] = np.minimum(free[box], near)
    room[box] &= free[box] >= size / 2 + _APART


def insert(scan: Array, blobs: Sequence[Blob], spacing: Spacing) -> Array:
    """The scan with the blobs added, clipped to [-1, 1]."""
    changed = scan.copy()
    for blob in blobs:
        box, share = place(ball(blob.diameter, spacing), blob.center, scan.shape)
        changed[box] += blob.amplitude * share
    return changed.clip(-1, 1)


def blob_mask(shape: Sequence[int], blobs: Sequence[Blob], spacing: Spacing) -> Mask:
    """Every voxel that a blob touches, (X, Y, Z)."""
    mask = np.zeros(tuple(shape), bool)
    for blob in blobs:
        box, share = place(ball(blob.diameter, spacing), blob.center, shape)
        mask[box] |= share > 0
    return mask
