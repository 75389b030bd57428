"""Displacements of one volume's places to another's: of a transform, composed, and applied.

However many stages found a displacement, intensities are interpolated once, by cubic B-splines
(Unser 1999, "Splines: a perfect fit for signal and image processing", IEEE SPM 16(6)): half-way
between voxels a linear interpolation keeps 0.71 of a wave of four voxels, and generators would
learn that blur.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from medstyle_gan.losses.deformation import deformed

Array = NDArray[np.float32]


def displacement_of(
    transform: sitk.Transform, shape: Sequence[int], spacing: Sequence[float]
) -> Array:
    """Where a transform takes each voxel.

    Args:
        transform: of places in mm from the first voxel.
        shape: of the grid (X, Y, Z).
        spacing: of the grid (mm).

    Returns:
        (3, X, Y, Z) along X, Y and Z (mm).
    """
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat32,
        [int(n) for n in shape],
        [0.0, 0.0, 0.0],
        [float(s) for s in spacing],
    )
    return np.ascontiguousarray(sitk.GetArrayFromImage(field).transpose(3, 2, 1, 0))


def composed(first: Array, second: Array, spacing: Sequence[float]) -> Array:
    """One displacement and then another, which goes on from where the first has led.

    Args:
        first: (3, X, Y, Z) within one grid (mm).
        second: (3, X, Y, Z) from the same grid to anywhere (mm); beyond its border it stays as it
            is there.
        spacing: of the grid (mm).

    Returns:
        (3, X, Y, Z) in mm.
    """
    step = torch.from_numpy(first)[None]
    voxels = step / torch.tensor(spacing).view(3, 1, 1, 1)
    return (step + deformed(torch.from_numpy(second)[None], voxels))[0].numpy()


def displaced(
    moving: Array,
    spacing: Sequence[float],
    displacement: Array,
    onto: Sequence[float],
    fill: float,
    *,
    cubic: bool,
) -> Array:
    """A volume looked up where a displacement leads, interpolated once.

    Args:
        moving: (X, Y, Z) to look up in.
        spacing: its voxel size (mm).
        displacement: (3, X', Y', Z'), from each place of the grid that is wanted (mm).
        onto: voxel size of that grid (mm).
        fill: value outside `moving`.
        cubic: by cubic B-splines, without leaving the range of `moving`'s values; else, and where
            `moving` has two voxels along an axis, linearly.

    Returns:
        (X', Y', Z').
    """
    vectors = np.ascontiguousarray(displacement.transpose(3, 2, 1, 0), dtype=np.float64)
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.SetSpacing([float(s) for s in onto])
    image = as_image(moving, spacing)
    # Of two voxels ITK's spline reads beyond its coefficients, and a line is all that they tell.
    cubic = cubic and 2 not in moving.shape
    way = sitk.sitkBSpline if cubic else sitk.sitkLinear
    # A transform takes its field for itself: the grid is an image of its own.
    grid = sitk.Image(field.GetSize(), sitk.sitkUInt8)
    grid.SetSpacing(field.GetSpacing())
    found = sitk.Resample(image, grid, sitk.DisplacementFieldTransform(field), way, fill)
    array = as_array(found)
    if cubic:
        array = array.clip(min(fill, float(moving.min())), max(fill, float(moving.max())))
    return array.astype(np.float32, copy=False)


def as_image(
    array: NDArray[np.generic], spacing: Sequence[float], origin: Sequence[float] | None = None
) -> sitk.Image:
    """An array in SimpleITK's hands; copied.

    Args:
        array: (X, Y, Z).
        spacing: voxel size (mm).
        origin: place of the first voxel (mm); None is 0.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([0.0, 0.0, 0.0] if origin is None else list(origin))
    return image


def as_array(image: sitk.Image) -> Array:
    """An image's values, (X, Y, Z) in its own type; a view of a copy."""
    return np.asarray(sitk.GetArrayFromImage(image)).transpose(2, 1, 0)
