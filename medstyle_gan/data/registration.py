"""Registering one volume to another of a different subject and contrast: affine, then B-splines.

Mattes' mutual information (Mattes et al. 2003, "PET-CT image registration in the chest using
free-form deformations", IEEE TMI 22(1)) by SimpleITK. Heads of two subjects never agree in detail:
the deformation is coarse on purpose, and right where contrasts are learned, not where edges are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from skimage.metrics import normalized_mutual_information

from medstyle_gan.data.body import body_box
from medstyle_gan.data.displacement import as_array, as_image

# Raise it when the same volumes come to be registered otherwise: part of the cache's keys.
REGISTRATION_VERSION = 1
# Cells along the body's longest axis, of the images that are compared: starts are tried on the
# first, the affine map ends on the second, the B-spline on the third.
_CELLS = (24, 40, 48)
# Cells of the B-spline's mesh along the body's longest axis: 40 mm of a head.
_MESH = 5
# The rim of air that is compared with the body, for its outline (share of the longest axis).
_RIM = 0.04
# A head's pitch differs most between scanners: starts are tried with these (degrees about R).
_PITCHES = (0.0, 15.0, -15.0)
_LARGEST_SCALE = 1.6
_BINS = 32
# Voxels that the metric looks at: a B-spline's time goes by them.
_SAMPLES = 12_000
_ITERATIONS = (60, 100, 15)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A volume to be registered.

    Attributes:
        array: (X, Y, Z) float32 along R, A, S, in [-1, 1].
        foreground: bool (X, Y, Z), the body; not empty.
        spacing: voxel size along R, A, S (mm).
    """

    array: NDArray[np.float32]
    foreground: NDArray[np.bool_]
    spacing: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Registered:
    """How one volume lies on another's grid, and how far that can be believed.

    Attributes:
        transform: maps places (mm from the first voxel) of the fixed volume to the moving one's.
        information: normalised mutual information of both in the fixed body, 1 (none) to 2.
        overlap: Dice of both bodies, where the moving volume has voxels.
        least_volume: smallest ratio of volumes (Jacobian determinant) in the fixed body; below 0
            the deformation folds.
    """

    transform: sitk.Transform
    information: float
    overlap: float
    least_volume: float


def register(fixed: Anatomy, moving: Anatomy, seed: int) -> Registered | None:
    """Register `moving` to `fixed`.

    Several starts (middles of mass, boxes around the bodies, tilted) are tried on coarse images;
    from the best an affine map and then a coarse B-spline follow. One thread and seeded samples:
    the same volumes give the same transform.

    Args:
        fixed: stays.
        moving: is deformed.
        seed: of the voxels that the metric looks at.

    Returns:
        None where no start led to an overlap at all.
    """
    with one_thread():
        return _registered(fixed, moving, seed)


@contextmanager
def one_thread() -> Iterator[None]:
    """ITK's metric adds up in the order in which threads end, whatever the method is told."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _registered(fixed: Anatomy, moving: Anatomy, seed: int) -> Registered | None:
    coarse, middle, fine = (_compared(fixed, moving, cells) for cells in _CELLS)
    best: tuple[float, sitk.Transform] | None = None
    for start in _starts(fixed, moving):
        found = _affine(coarse, start, 0, seed)
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    if best is None:
        return None
    refined = _affine(middle, best[1], 1, seed)
    affine = best[1] if refined is None else refined[1]
    return _judged(_deformed(fine, affine, seed), fixed, moving, fine.still)


# --------------------------------------------------------------------------------- stages


@dataclass(frozen=True, eq=False)
class _Compared:
    """Both volumes' boxes around the body on coarser grids; where the first is looked at."""

    still: sitk.Image
    other: sitk.Image
    mask: sitk.Image


def _compared(fixed: Anatomy, moving: Anatomy, cells: int) -> _Compared:
    still, mask = _cropped(fixed, cells)
    return _Compared(still, _cropped(moving, cells)[0], mask)


def _affine(
    images: _Compared, start: sitk.Transform, level: int, seed: int
) -> tuple[float, sitk.Transform] | None:
    """The metric (smaller is better) and the affine transform that it ends at."""
    method = _method(images, seed)
    method.SetOptimizerAsGradientDescent(
        learningRate=1.0,
        numberOfIterations=_ITERATIONS[level],
        convergenceMinimumValue=1e-6,
        convergenceWindowSize=8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(sitk.AffineTransform(start), inPlace=False)
    try:
        found = method.Execute(images.still, images.other)
    except RuntimeError:  # ITK: no sample maps into the moving volume
        return None
    return float(method.GetMetricValue()), sitk.AffineTransform(found.GetNthTransform(0))


def _deformed(images: _Compared, affine: sitk.Transform, seed: int) -> sitk.Transform:
    """The affine transform after a coarse B-spline; alone where that finds no way."""
    method, still = _method(images, seed), images.still
    sides = np.multiply(still.GetSize(), still.GetSpacing())
    mesh = [max(1, round(_MESH * side / sides.max())) for side in sides]
    spline = sitk.BSplineTransformInitializer(still, mesh)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(spline, inPlace=True)
    method.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-5,
        numberOfIterations=_ITERATIONS[2],
        maximumNumberOfFunctionEvaluations=2 * _ITERATIONS[2],
    )
    try:
        method.Execute(still, images.other)
    except RuntimeError:
        return affine
    return sitk.CompositeTransform([affine, spline])


def _method(images: _Compared, seed: int) -> sitk.ImageRegistrationMethod:
    method = mutual_information_method(images.still, seed, _SAMPLES)
    method.SetMetricFixedMask(images.mask)
    return method


def mutual_information_method(
    still: sitk.Image, seed: int, samples: int
) -> sitk.ImageRegistrationMethod:
    """A registration by Mattes' mutual information on one thread, without an optimiser yet.

    Args:
        still: the fixed image.
        seed: of the voxels that the metric looks at.
        samples: how many these are; all where the image has fewer.
    """
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    share = min(1.0, samples / still.GetNumberOfPixels())
    method.SetMetricSamplingPercentage(share, seed % (2**31 - 1) + 1)  # 0 is the clock
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _cropped(anatomy: Anatomy, cells: int) -> tuple[sitk.Image, sitk.Image]:
    """The box around the body and its rim, coarser, and a mask of body and rim."""
    box = body_box(anatomy.foreground)
    spacing = np.array(anatomy.spacing)
    extent = max((last + 1 - first) * s for (first, last), s in zip(box, spacing, strict=True))
    rim = [max(1, round(_RIM * extent / s)) for s in spacing]
    low = [max(first - r, 0) for (first, _), r in zip(box, rim, strict=True)]
    high = [
        min(last + 1 + r, n)
        for (_, last), r, n in zip(box, rim, anatomy.foreground.shape, strict=True)
    ]
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    # Never so coarse that an axis is left with fewer than four cells.
    factors = [
        int(max(1, min(round(extent / cells / s), (b - a) // 4)))
        for s, a, b in zip(spacing, low, high, strict=True)
    ]
    origin = [float(a * s) for a, s in zip(low, spacing, strict=True)]
    image = as_image(anatomy.array[part], anatomy.spacing, origin)
    body = as_image(anatomy.foreground[part].astype(np.float32), anatomy.spacing, origin)
    image, body = (sitk.BinShrink(i, factors) for i in (image, body))
    reach = [max(1, round(r / f)) for r, f in zip(rim, factors, strict=True)]
    return image, sitk.BinaryDilate(sitk.Cast(body > 0.5, sitk.sitkUInt8), reach)


# --------------------------------------------------------------------------------- starts


def _starts(fixed: Anatomy, moving: Anatomy) -> list[sitk.AffineTransform]:
    """From middle of mass to middle of mass, as it is and tilted, and from box to box."""
    middles = [_middle(anatomy) for anatomy in (fixed, moving)]
    starts = [_start(middles, np.ones(3), pitch) for pitch in _PITCHES]
    boxes = [_box(anatomy) for anatomy in (fixed, moving)]
    scale = (boxes[1][1] - boxes[1][0]) / (boxes[0][1] - boxes[0][0])
    centres = [(low + high) / 2 for low, high in boxes]
    starts.append(_start(centres, scale.clip(1 / _LARGEST_SCALE, _LARGEST_SCALE), 0.0))
    return starts


def _start(
    middles: Sequence[NDArray[np.float64]], scale: NDArray[np.float64], pitch: float
) -> sitk.AffineTransform:
    sine, cosine = math.sin(math.radians(pitch)), math.cos(math.radians(pitch))
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    transform = sitk.AffineTransform(3)
    transform.SetCenter(middles[0].tolist())
    transform.SetMatrix((turn @ np.diag(scale)).ravel().tolist())
    transform.SetTranslation((middles[1] - middles[0]).tolist())
    return transform


def _middle(anatomy: Anatomy) -> NDArray[np.float64]:
    """The body's middle of mass (mm)."""
    means = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        counts = anatomy.foreground.sum(axis=others, dtype=np.int64)
        means.append(float(np.average(np.arange(len(counts)), weights=counts)))
    return np.array(means) * anatomy.spacing


def _box(anatomy: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bounds = np.array(body_box(anatomy.foreground), dtype=np.float64)
    return (bounds[:, 0] - 0.5) * anatomy.spacing, (bounds[:, 1] + 0.5) * anatomy.spacing


# -------------------------------------------------------------------------------- judging


def _judged(
    transform: sitk.Transform, fixed: Anatomy, moving: Anatomy, still: sitk.Image
) -> Registered:
    """Measure how good a transform is, on a coarse image of the fixed volume."""
    own = _body_on(still, fixed, None)
    theirs = _body_on(still, moving, transform)
    inside = as_array(
        sitk.Resample(
            as_image(np.ones(moving.array.shape, np.uint8), moving.spacing),
            still,
            transform,
            sitk.sitkNearestNeighbor,
            0,
        )
    ).astype(bool)
    warped = as_array(
        sitk.Resample(
            as_image(moving.array, moving.spacing), still, transform, sitk.sitkLinear, -1.0
        )
    )
    both = own & theirs & inside
    counted = (own & inside).sum() + (theirs & inside).sum()
    overlap = 2 * float(both.sum()) / max(int(counted), 1)
    information = 1.0
    if both.sum() > _BINS:
        information = float(
            normalized_mutual_information(as_array(still)[both], warped[both], bins=_BINS)
        )
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        still.GetSize(),
        still.GetOrigin(),
        still.GetSpacing(),
        still.GetDirection(),
    )
    ratios = as_array(sitk.DisplacementFieldJacobianDeterminant(field))[own]
    return Registered(transform, information, overlap, float(ratios.min()) if ratios.size else 0.0)


def _body_on(
    grid: sitk.Image, anatomy: Anatomy, transform: sitk.Transform | None
) -> NDArray[np.bool_]:
    body = as_image(anatomy.foreground.astype(np.float32), anatomy.spacing)
    given = transform or sitk.Transform(3, sitk.sitkIdentity)
    return as_array(sitk.Resample(body, grid, given, sitk.sitkLinear, 0.0)) > 0.5
