"""Moving a volume between its own grid and the working grid, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from nibabel.affines import voxel_sizes
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from scipy.ndimage import gaussian_filter

from medstyle_gan.volumes.workspace import (
    SLAB_VOXELS,
    Workspace,
    copy_in_blocks,
    release,
    slabs,
)

# Spacings closer than this (relative) are the same: resampling would only blur.
_SAME_SPACING = 1e-3
# Where a Gaussian ends (standard deviations).
_TRUNCATE = 4.0


@dataclass(frozen=True)
class Grid:
    """Where an array's voxels are: its spatial shape and its voxel → mm matrix."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    def same_as(self, other: Grid) -> bool:
        """Whether both grids have the same voxels, to a thousandth of a voxel."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1)
        corners = np.vstack([corners, np.ones(corners.shape[1])])
        moved = np.linalg.solve(self.affine, other.affine) @ corners
        return bool(np.abs(moved - corners).max() < _SAME_SPACING)


def ras_grid(shape: Sequence[int], affine: np.ndarray) -> Grid:
    """The grid of the same voxels, axes permuted and flipped to point R, A, S."""
    to_ras = ornt_transform(io_orientation(affine), axcodes2ornt("RAS"))
    permuted = np.empty(3, dtype=int)
    permuted[to_ras[:, 0].astype(int)] = shape[:3]
    x, y, z = (int(n) for n in permuted)
    return Grid((x, y, z), affine @ inv_ornt_aff(to_ras, shape[:3]))


def to_ras(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Permute and flip (X, Y, Z, ...) to point R, A, S; exact, and a view."""
    return apply_orientation(array, ornt_transform(io_orientation(affine), axcodes2ornt("RAS")))


def from_ras(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Permute and flip (X, Y, Z, ...) from RAS order to that of `affine`; exact, and a view."""
    return apply_orientation(array, ornt_transform(axcodes2ornt("RAS"), io_orientation(affine)))


def working_grid(grid: Grid, spacing: Sequence[float | None]) -> Grid:
    """The grid that starts at the same first voxel and has the asked spacing.

    Args:
        grid: RAS grid of the volume.
        spacing: voxel size along R, A, S (mm); None keeps the volume's own.
    """
    own = voxel_sizes(grid.affine)
    ratio = np.array(
        [
            1.0 if want is None or abs(want / have - 1) < _SAME_SPACING else want / have
            for want, have in zip(spacing, own, strict=True)
        ]
    )
    x, y, z = (
        n if r == 1.0 else round((n - 1) / r) + 1 for n, r in zip(grid.shape, ratio, strict=True)
    )
    return Grid((x, y, z), grid.affine @ np.diag([*ratio, 1.0]))


def resample(
    array: np.ndarray,
    source: Grid,
    target: Grid,
    workspace: Workspace | None = None,
    slowest: int = 2,
) -> np.ndarray:
    """Linear interpolation onto a grid whose axes are parallel to the source's.

    Coarser axes are smoothed first so that fine texture does not alias, with the Gaussian
    that matches the point spread of the larger voxel (Cardoso et al. 2015, "Scale factor
    point spread function matching"): σ² = (r² - 1) / (8 ln 2), r the ratio of spacings.
    Beyond the outermost voxel centres the border value is repeated.

    Each slab of the result is computed from the slices it depends on, those that the Gaussian
    reaches included, so that no more than these is in memory.

    Args:
        array: (C, X, Y, Z), in any type.
        source: the array's grid.
        target: the wanted grid; its axes differ from the source's only in step and start.
        workspace: where the result is made.
        slowest: the axis of X, Y, Z whose slices lie together in it.

    Returns:
        (C, X', Y', Z') float32, new.
    """
    workspace = workspace or Workspace()
    out = workspace.empty((len(array), *target.shape), np.float32, slowest=1 + slowest)
    if source.same_as(target):
        for slab in slabs(out.shape, 1 + slowest):
            copy_in_blocks(out[slab], array[slab])
            release(out)
        return out
    # The slabs' axis is the last one from here on.
    order = [axis for axis in range(3) if axis != slowest] + [slowest]
    turned = [0, *(1 + axis for axis in order)]
    _resample_slabs(
        array.transpose(turned),
        Grid(_three(source.shape, order), source.affine[:, [*order, 3]]),
        Grid(_three(target.shape, order), target.affine[:, [*order, 3]]),
        out.transpose(turned),
    )
    return out


def _resample_slabs(array: np.ndarray, source: Grid, target: Grid, out: np.ndarray) -> None:
    """As `resample`, slab by slab along Z, into `out`."""
    change = np.linalg.solve(source.affine, target.affine)
    step, start = np.diag(change)[:3], float(change[2, 3])
    sigma = np.sqrt(np.maximum(step**2 - 1, 0) / (8 * np.log(2)))
    reach = int(_TRUNCATE * sigma[2] + 0.5)
    area = max(
        target.shape[0] * target.shape[1], source.shape[0] * source.shape[1] * max(1.0, step[2])
    )
    depth = max(1, int(SLAB_VOXELS / area))
    last = source.shape[2] - 1
    for z in range(0, target.shape[2], depth):
        end = min(z + depth, target.shape[2])
        # The source slices that this slab interpolates between (at least the border one).
        low = int(np.clip(np.floor(start + z * step[2]), 0, last))
        high = int(np.clip(np.ceil(start + (end - 1) * step[2]), low, last)) + 1
        first, beyond = max(0, low - reach), min(last + 1, high + reach)
        slab = np.empty((*array.shape[:3], beyond - first), dtype=np.float32)
        copy_in_blocks(slab, array[..., first:beyond])
        if sigma.any():
            slab = gaussian_filter(slab, (0, *sigma), mode="nearest", truncate=_TRUNCATE)
        slab = np.ascontiguousarray(slab[..., low - first : high - first])
        resampler = SpatialResample(
            mode="bilinear", padding_mode="border", align_corners=True, dtype=np.float32
        )
        moved = resampler(
            MetaTensor(
                torch.from_numpy(slab), affine=torch.from_numpy(_shifted(source.affine, low))
            ),
            dst_affine=torch.from_numpy(_shifted(target.affine, z)),
            # At least two voxels an axis: PyTorch puts a single one elsewhere.
            spatial_size=[max(2, n) for n in (*target.shape[:2], end - z)],
        )
        out[..., z:end] = moved.numpy()[:, : target.shape[0], : target.shape[1], : end - z]
        release(out)


def _three(values: Sequence[int], order: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (values[axis] for axis in order)
    return x, y, z


def _shifted(affine: np.ndarray, z: int) -> np.ndarray:
    """The affine of the same grid without its first z slices."""
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, 2] * z
    return shifted
