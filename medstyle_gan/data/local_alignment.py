"""Aligning a registered volume in detail: a dense deformation by local squared correlation.

What `registration` leaves is off by several voxels where subjects differ, and a generator that
learns from it blurs. In small windows two contrasts of the same tissue depend on each other all but
linearly, whatever their signs: the squared correlation there (Avants et al. 2008, "Symmetric
diffeomorphic image registration with cross-correlation", Medical Image Analysis 12(1)) rises as
their edges meet. The displacement lives on a coarse grid, smoothed and interpolated linearly (as
free-form deformations do by splines, Rueckert et al. 1999, IEEE TMI 18(8)), and is found by Adam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor

from medstyle_gan.data.body import body_box

# Raise it when the same volumes come to be aligned otherwise: part of the cache's keys.
ALIGNMENT_VERSION = 1
# Cells along the body's longest axis, of the finest grid that is compared: 1.8 mm of a head.
_CELLS = 128
# Below this variance a window has no edge ([-1, 1] units squared).
_FLAT = 1e-3
# Voxels around the body that go with it: its outline.
_RIM = 4


@dataclass(frozen=True)
class _Level:
    """One stage, coarse to fine. Lengths are in cells of the finest grid.

    Attributes:
        spacing: of the grid that is compared.
        cell: of the displacement's grid.
        window: side of the windows that correlation is taken in.
        rate: largest change of a displacement in an iteration.
        stiffness: weight of the squared difference of neighbouring displacements, relative to
            the cell, beside the correlation.
    """

    spacing: float
    cell: float
    window: float
    rate: float
    stiffness: float


_LEVELS = (_Level(2.0, 8.0, 14.0, 0.8, 0.5), _Level(1.0, 4.0, 7.0, 0.45, 0.3))
# The same once more, with an expectation beside the edges: it may bend more.
_AGAIN = (_Level(1.0, 4.0, 7.0, 0.45, 0.15),)
_ITERATIONS, _ITERATIONS_AGAIN = 30, 40


def align_locally(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    weight: NDArray[np.bool_],
    spacing: Sequence[float],
    expected: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Deform a volume that lies roughly on another one until their edges meet.

    Args:
        fixed: (X, Y, Z) in [-1, 1].
        moving: (X, Y, Z) in [-1, 1], on the same grid.
        weight: (X, Y, Z), where the two are compared, with a rim; not empty.
        spacing: voxel size (mm).
        expected: (X, Y, Z) in [-1, 1], what the moving volume is expected to look like on this
            grid: then it is aligned already, and is aligned in the finest detail alone, by the
            mean absolute difference from this too.

    Returns:
        (3, X, Y, Z) displacement along X, Y and Z (mm), from each voxel of the fixed volume to
        where the moving one is looked up.
    """
    weight = binary_dilation(weight)  # the outline is an edge too
    box = [
        (max(first - _RIM, 0), min(last + 1 + _RIM, n))
        for (first, last), n in zip(body_box(weight), weight.shape, strict=True)
    ]
    part = tuple(slice(*ends) for ends in box)

    def seen(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array[part], dtype=np.float32))[None, None]

    aim = None if expected is None else seen(expected)
    images = _Images(seen(fixed), seen(moving), seen(weight), aim)
    unit = max((last - first) * s for (first, last), s in zip(box, spacing, strict=True)) / _CELLS
    displacement = torch.zeros(1, 3, *images.still.shape[2:])
    for level in _LEVELS if aim is None else _AGAIN:
        displacement = _refined(level, unit, images, spacing, displacement)
    whole = np.zeros((3, *weight.shape), dtype=np.float32)
    whole[:, *part] = displacement[0].numpy()
    return whole


class LocalCorrelation:
    """Mean over places of the squared correlation in a window around each, with a fixed image.

    Args:
        fixed: `(1, 1, X, Y, Z)`.
        weight: `(1, 1, X, Y, Z)` in [0, 1], of voxels in windows and of places in the mean.
        window: sides of the windows (voxels, odd).
    """

    def __init__(self, fixed: Tensor, weight: Tensor, window: Sequence[int]) -> None:
        self._fixed, self._weight, self._window = fixed, weight, window
        self._inside = self._sums(weight).clamp_min(1e-4)
        self._mean = self._means(fixed)
        self._variance = self._means(fixed * fixed) - self._mean**2

    def __call__(self, moving: Tensor) -> Tensor:
        """A scalar in [0, 1]; windows without an edge have nearly 0.

        Args:
            moving: `(1, 1, X, Y, Z)`.
        """
        mean, square, product = self._means(
            torch.cat([moving, moving * moving, self._fixed * moving], dim=1)
        ).split(1, dim=1)
        covariance = product - self._mean * mean
        variances = (self._variance.clamp_min(0) + _FLAT) * (
            (square - mean * mean).clamp_min(0) + _FLAT
        )
        weighted = covariance.square() / variances * self._weight
        return weighted.sum() / self._weight.sum().clamp_min(1)

    def _means(self, values: Tensor) -> Tensor:
        return self._sums(values * self._weight) / self._inside

    def _sums(self, values: Tensor) -> Tensor:
        """Means over windows that count what is beyond the array as 0, one axis at a time."""
        for axis, side in enumerate(self._window):
            kernel, pad = [1, 1, 1], [0, 0, 0]
            kernel[axis], pad[axis] = side, side // 2
            values = F.avg_pool3d(values, tuple(kernel), 1, tuple(pad))
        return values


@dataclass(frozen=True, eq=False)
class _Images:
    """What is compared, each `(1, 1, X, Y, Z)`: see `align_locally`."""

    still: Tensor
    other: Tensor
    where: Tensor
    aim: Tensor | None


def _refined(
    level: _Level, unit: float, images: _Images, spacing: Sequence[float], before: Tensor
) -> Tensor:
    """A displacement (mm) on top of an earlier one."""
    full = before.shape[2:]
    extent = [n * s for n, s in zip(full, spacing, strict=True)]
    # Never finer than the volumes themselves are.
    size = [
        min(n, max(1, round(e / (level.spacing * unit)))) for n, e in zip(full, extent, strict=True)
    ]
    steps = [e / n for e, n in zip(extent, size, strict=True)]

    def coarse(values: Tensor) -> Tensor:
        return F.interpolate(values, size=size, mode="trilinear")

    still, other, where, start = map(coarse, (images.still, images.other, images.where, before))
    aim = None if images.aim is None else coarse(images.aim)
    cells = [max(2, round(e / (level.cell * unit))) for e in extent]
    grid = torch.zeros(1, 3, *cells, requires_grad=True)
    correlation = LocalCorrelation(still, where, _window(level.window * unit, steps))
    optimizer = torch.optim.Adam([grid], lr=level.rate * unit)
    for _ in range(_ITERATIONS if aim is None else _ITERATIONS_AGAIN):
        seen = warped(other, start + _dense(grid, size), steps)
        likeness = correlation(seen)
        if aim is not None:
            likeness = likeness - ((seen - aim).abs() * where).sum() / where.sum()
        bent = [(grid.diff(dim=axis) / (level.cell * unit)).square().mean() for axis in (2, 3, 4)]
        loss = level.stiffness * torch.stack(bent).sum() - likeness
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = start + _dense(grid, size)
        return F.interpolate(found, size=tuple(full), mode="trilinear")


def _dense(grid: Tensor, size: Sequence[int]) -> Tensor:
    # Padded here: with a padding of its own, the pooling refuses a side of fewer than 3 nodes.
    padded = (F.pad(x, [1] * 6) for x in (grid, torch.ones_like(grid)))
    sums, counts = (F.avg_pool3d(x, 3, 1, divisor_override=1) for x in padded)
    smooth = sums / counts
    return F.interpolate(smooth, size=tuple(size), mode="trilinear")


def warped(values: Tensor, displacement: Tensor, spacing: Sequence[float]) -> Tensor:
    """Values at displaced places, by linear interpolation; -1 beyond the array.

    Args:
        values: `(1, C, X, Y, Z)`.
        displacement: `(1, 3, X, Y, Z)` along X, Y and Z (mm).
        spacing: voxel size (mm).

    Returns:
        As `values`.
    """
    size = values.shape[2:]
    places = F.affine_grid(torch.eye(3, 4)[None], [1, 1, *size], align_corners=False)
    # The grid counts from -1 to 1 over the whole extent, and its last axis is Z, Y, X.
    half = torch.tensor([n * s / 2 for n, s in zip(size, spacing, strict=True)])
    moved = (displacement.movedim(1, -1) / half).flip(-1)
    return F.grid_sample(values + 1, places + moved, align_corners=False) - 1


def _window(side: float, spacing: Sequence[float]) -> list[int]:
    """Sides in voxels, odd and at least 3."""
    return [max(3, 2 * round((side / s - 1) / 2) + 1) for s in spacing]
