"""Registering a volume rigidly to another of the same subject and another contrast.

By Mattes' mutual information (Mattes et al. 2003, IEEE TMI 22(1)), in SimpleITK.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from medstyle_gan.data.displacement import as_array, as_image
from medstyle_gan.data.registration import mutual_information_method, one_thread
from medstyle_gan.data.resampling import from_ras, ras_grid, to_ras
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Volume

# Voxel sizes that images are averaged to, and the first step there (mm): starts are tried on the
# first. Steps that shrink slowly end at the optimum; halved ones stand still before it.
_LEVELS = ((6.0, 2.0), (3.0, 1.0), (1.0, 0.5))
_RELAXATION = 0.7
_PITCHES = (0.0, 10.0, -10.0)  # of the starts from middle to middle (degrees about R)
_SAMPLES = 20_000
_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Rigid:
    """A volume on another's grid.

    Attributes:
        array: float32, on the fixed volume's voxels.
        covered: bool, where the moving volume has voxels.
        turned: rotation, beside what the files say (degrees).
        moved: how far the middle of the fixed volume went (mm).
        information: mutual information of both (nats).
    """

    array: np.ndarray
    covered: np.ndarray
    turned: float
    moved: float
    information: float


def register_rigidly(fixed: Volume, moving: Volume, seed: int = 0) -> Rigid:
    """Register `moving` to `fixed`, and resample it by cubic B-splines.

    Starts are the places that both files tell, and the middles of mass on one another, as they are
    and tilted. One thread and seeded samples: the same volumes give the same result.

    Raises:
        UserError: a volume is sheared, or no start overlaps.
    """
    with one_thread():
        return _registered(fixed, moving, seed)


def _registered(fixed: Volume, moving: Volume, seed: int) -> Rigid:
    still, other = _image(fixed), _image(moving)
    levels = [
        _Level(_averaged(still, size), _averaged(other, size), step) for size, step in _LEVELS
    ]
    tried = [_optimised(levels[0], start, seed) for start in _starts(still, other)]
    found = [one for one in tried if one is not None]
    if not found:
        raise UserError(f"{moving.path}: does not come to overlap {fixed.path}; are they one head?")
    best = min(found, key=lambda one: one[0])
    for level in levels[1:]:
        best = _optimised(level, best[1], seed) or best
    value, transform = best
    array = as_array(sitk.Resample(other, still, transform, sitk.sitkBSpline, 0.0))
    low, high = float(moving.array.min()), float(moving.array.max())
    ones = sitk.Cast(other * 0 + 1, sitk.sitkUInt8)
    covered = as_array(sitk.Resample(ones, still, transform, sitk.sitkNearestNeighbor, 0)) > 0
    middle = still.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in still.GetSize()])
    shift = np.subtract(transform.TransformPoint(middle), middle)
    trace = float(np.trace(np.reshape(transform.GetMatrix(), (3, 3))))
    affine = np.asarray(fixed.geometry.affine)
    return Rigid(
        from_ras(array.clip(low, high), affine),
        from_ras(covered, affine),
        math.degrees(math.acos(min(max((trace - 1) / 2, -1.0), 1.0))),
        float(np.linalg.norm(shift)),
        -value,
    )


@dataclass(frozen=True, eq=False)
class _Level:
    """Both volumes, coarser, and the optimiser's first step (mm)."""

    still: sitk.Image
    other: sitk.Image
    step: float


def _image(volume: Volume) -> sitk.Image:
    """A volume with its axes along R, A, S, where its file says that it is (LPS, as ITK has it)."""
    affine = np.asarray(volume.geometry.affine, dtype=np.float64)
    grid = ras_grid(volume.array.shape, affine)
    placed = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    spacing = np.linalg.norm(placed[:3, :3], axis=0)
    directions = placed[:3, :3] / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        raise UserError(f"{volume.path}: its axes are not at right angles; resample it first")
    left, _, right = np.linalg.svd(directions)  # right angles to the last digit, as ITK wants
    array = to_ras(volume.array, affine).astype(np.float32)
    image = as_image(array, spacing.tolist(), placed[:3, 3].tolist())
    image.SetDirection((left @ right).ravel().tolist())
    return image


def _averaged(image: sitk.Image, size: float) -> sitk.Image:
    factors = [max(1, round(size / s)) for s in image.GetSpacing()]
    return sitk.BinShrink(image, factors)


def _starts(still: sitk.Image, other: sitk.Image) -> list[sitk.Euler3DTransform]:
    as_told = sitk.Euler3DTransform()
    as_told.SetCenter(
        still.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in still.GetSize()])
    )
    starts = [as_told]
    for pitch in _PITCHES:
        start = sitk.Euler3DTransform(
            sitk.CenteredTransformInitializer(
                still,
                other,
                sitk.Euler3DTransform(),
                sitk.CenteredTransformInitializerFilter.MOMENTS,
            )
        )
        start.SetRotation(math.radians(pitch), 0.0, 0.0)
        starts.append(start)
    return starts


def _optimised(
    level: _Level, start: sitk.Euler3DTransform, seed: int
) -> tuple[float, sitk.Euler3DTransform] | None:
    """The metric (smaller is better) and where it ends; None where nothing overlaps."""
    method = mutual_information_method(level.still, seed, _SAMPLES)
    method.SetOptimizerAsRegularStepGradientDescent(level.step, 1e-3, _ITERATIONS, _RELAXATION)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(sitk.Euler3DTransform(start), inPlace=False)
    try:
        found = method.Execute(level.still, level.other)
    except RuntimeError:  # ITK: no sample maps into the moving volume
        return None
    end = sitk.Euler3DTransform(found.GetNthTransform(0))
    return float(method.GetMetricValue()), end
