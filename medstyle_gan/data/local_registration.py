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
from torch import Tensor

# Raise it when the same volumes come to be aligned otherwise: part of the cache's keys.
LOCAL_VERSION = 1
# Below this variance a window has no edge ([-1, 1] units squared).
_FLAT = 1e-3


@dataclass(frozen=True)
class _Level:
    """One stage, coarse to fine.

    Attributes:
        cell: of the displacement's grid (mm).
        window: side of the windows that correlation is taken in (mm).
        iterations: of Adam.
        rate: largest change of a displacement in an iteration (mm).
        stiffness: weight of the squared displacement between neighbouring cells (relative to
            the cell) beside the correlation.
    """

    cell: float
    window: float
    iterations: int
    rate: float
    stiffness: float


_LEVELS = (_Level(12.0, 20.0, 25, 1.0, 1.0), _Level(6.0, 13.0, 30, 0.6, 0.6))


def align_locally(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    weight: NDArray[np.float32],
    spacing: Sequence[float],
) -> tuple[NDArray[np.float32], float]:
    """Deform a volume that lies roughly on another one until their edges meet.

    Args:
        fixed: (X, Y, Z) in [-1, 1].
        moving: (C, X, Y, Z) in [-1, 1]; the mean of its channels is compared.
        weight: (X, Y, Z) in [0, 1], where the two are compared.
        spacing: voxel size (mm).

    Returns:
        `moving`, deformed, and the mean squared local correlation that is reached, in [0, 1].
    """
    still, other, where = (
        torch.from_numpy(np.array(a, dtype=np.float32))[None]
        for a in (fixed[None], moving, weight[None])
    )
    size = still.shape[2:]
    displacement = torch.zeros(1, 3, *size)
    for level in _LEVELS:
        displacement = _refined(level, still, other, where, spacing, displacement)
    warped = _warped(other, displacement, spacing)
    reached = local_correlation(
        still, warped.mean(1, keepdim=True), where, _window(_LEVELS[-1].window, spacing)
    )
    return warped[0].numpy(), float(reached)


def local_correlation(x: Tensor, y: Tensor, weight: Tensor, window: Sequence[int]) -> Tensor:
    """Mean over places of the squared correlation in a window around each.

    Args:
        x: `(1, 1, X, Y, Z)`.
        y: `(1, 1, X, Y, Z)`.
        weight: `(1, 1, X, Y, Z)` in [0, 1], of voxels in windows and of places in the mean.
        window: its sides (voxels, odd).

    Returns:
        A scalar in [0, 1]; windows without an edge have nearly 0.
    """
    pads = [side // 2 for side in window]

    def box(values: Tensor) -> Tensor:
        return F.avg_pool3d(values, tuple(window), 1, tuple(pads))

    inside = box(weight).clamp_min(1e-4)

    def mean(values: Tensor) -> Tensor:
        return box(values * weight) / inside

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    variances = (variance_x.clamp_min(0) + _FLAT) * (variance_y.clamp_min(0) + _FLAT)
    return (covariance**2 / variances * weight).sum() / weight.sum().clamp_min(1)


def _refined(
    level: _Level,
    still: Tensor,
    other: Tensor,
    where: Tensor,
    spacing: Sequence[float],
    before: Tensor,
) -> Tensor:
    """A displacement (mm, along X, Y, Z) on top of an earlier one."""
    size = still.shape[2:]
    cells = [max(2, round(n * s / level.cell)) for n, s in zip(size, spacing, strict=True)]
    grid = torch.zeros(1, 3, *cells, requires_grad=True)
    optimizer = torch.optim.Adam([grid], lr=level.rate)
    window = _window(level.window, spacing)
    for _ in range(level.iterations):
        displacement = before + _dense(grid, size)
        warped = _warped(other, displacement, spacing).mean(1, keepdim=True)
        steps = [grid.diff(dim=axis) / level.cell for axis in (2, 3, 4)]
        bending = torch.stack([step.square().mean() for step in steps]).sum()
        loss = level.stiffness * bending - local_correlation(still, warped, where, window)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return before + _dense(grid, size)


def _dense(grid: Tensor, size: Sequence[int]) -> Tensor:
    smooth = F.avg_pool3d(grid, 3, 1, 1, count_include_pad=False)
    return F.interpolate(smooth, tuple(size), mode="trilinear", align_corners=True)


def _warped(other: Tensor, displacement: Tensor, spacing: Sequence[float]) -> Tensor:
    """Linear interpolation at displaced places; -1, the background, beyond the volume."""
    size = other.shape[2:]
    places = F.affine_grid(torch.eye(3, 4)[None], [1, 1, *size], align_corners=True)
    # A grid counts from -1 to 1, and its last axis is Z, Y, X.
    half = [max(n - 1, 1) * s / 2 for n, s in zip(size, spacing, strict=True)]
    moved = displacement.movedim(1, -1) / torch.tensor(half, dtype=displacement.dtype)
    return F.grid_sample(other + 1, places + moved.flip(-1), align_corners=True) - 1


def _window(side: float, spacing: Sequence[float]) -> list[int]:
    """Sides in voxels, odd and at least 3."""
    return [max(3, 2 * round((side / s - 1) / 2) + 1) for s in spacing]
