"""Random head-like anatomy as tissue fractions: a folded cortex in a skull, from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.data.phantom.fields import Field, smooth_field


class Tissue(IntEnum):
    """Tissues in the order of the label volume; the value is the label."""

    AIR = 0
    SCALP = 1
    SKULL = 2
    MARROW = 3
    CSF = 4
    GREY_MATTER = 5
    WHITE_MATTER = 6
    DEEP_GREY = 7
    LESION = 8


@dataclass(frozen=True)
class Anatomy:
    """What a phantom is made of, before any scanner has seen it.

    Attributes:
        fractions: (tissues, X, Y, Z) float32, partial volumes that sum to 1 in each voxel.
        texture: (X, Y, Z) float32, unit variance: natural variation of the tissue itself, which
            every contrast of the subject shares.
        points: (3, X, Y, Z) float32, position in the head (mm; right, anterior, superior).
        spacing: Voxel size (mm).
    """

    fractions: Field
    texture: Field
    points: Field
    spacing: tuple[float, float, float]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The most frequent tissue of each voxel, (X, Y, Z)."""
        return self.fractions.argmax(axis=0).astype(np.uint8)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The head: voxels that are at least half tissue, (X, Y, Z)."""
        return self.fractions[Tissue.AIR] <= 0.5


# Centre and radii (mm) on the right side; the left is its mirror image.
_VENTRICLES = (((9, 20, 10), (5, 19, 8)), ((15, -22, 8), (5.5, 24, 8)))
_DEEP_GREY = (
    ((17, 19, 9), (5, 13, 8)),  # caudate
    ((12, -8, 1), (9, 14, 9)),  # thalamus
    ((27, 4, 0), (6, 17, 10)),  # putamen
)


def make_anatomy(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> Anatomy:
    """Makes one subject's head on a grid whose axes point right, anterior and superior.

    Args:
        rng: Source of all random choices.
        shape: Voxels, (X, Y, Z).
        spacing: Voxel size (mm). The field of view is about 200 mm in plane for a whole head.

    Returns:
        The subject's anatomy, without lesions.
    """
    points = _positions(rng, shape, spacing)
    points = points + 3.0 * _fields(rng, 3, shape, spacing, 45.0)
    radii = np.array([72, 90, 84]) * rng.normal(1, 0.03, 3)
    depth = _depth_in_ellipsoid(points, (0, 0, 0), radii)
    thickness = smooth_field(rng, shape, spacing, 40.0)
    scalp = np.clip(6.0 + 1.2 * thickness, 3.0, 10.0)
    skull = scalp + np.clip(7.0 + 1.0 * smooth_field(rng, shape, spacing, 40.0), 4.5, 10.0)
    brain = depth - skull - rng.uniform(1.5, 3.5)  # depth below the outermost cortex

    pia = _depth_below_folds(rng, points, brain, shape, spacing)
    size = rng.uniform(0.75, 1.3)
    ventricles = _paired_depth(rng, points, _VENTRICLES, size)
    third = _depth_in_ellipsoid(points, (0, -4, -2), np.array([2.2, 12, 9]) * size)
    deep_grey = _paired_depth(rng, points, _DEEP_GREY, 1.0)

    layers = [
        (Tissue.SCALP, depth),
        (Tissue.SKULL, depth - scalp),
        (Tissue.MARROW, 1.0 - np.abs(depth - (scalp + skull) / 2)),
        (Tissue.CSF, depth - skull),
        (Tissue.GREY_MATTER, pia),
        (Tissue.WHITE_MATTER, pia - rng.uniform(2.8, 3.8)),
        (Tissue.DEEP_GREY, deep_grey),
        (Tissue.CSF, np.maximum(ventricles, third)),
    ]
    fractions = np.zeros((len(Tissue), *shape), np.float32)
    fractions[Tissue.AIR] = 1
    for tissue, below in layers:  # each layer covers what lies under it
        share = _share_inside(below, spacing)
        fractions *= 1 - share
        fractions[tissue] += share
    return Anatomy(fractions, smooth_field(rng, shape, spacing, 4.0), points, spacing)


def _positions(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> Field:
    """Returns each voxel's position in the head (3, X, Y, Z), the head lying a little askew."""
    offset = np.array([rng.normal(0, 3), rng.normal(0, 4), 8 + rng.normal(0, 4)])
    axes = [
        (np.arange(n) - (n - 1) / 2) * step + shift
        for n, step, shift in zip(shape, spacing, offset, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    rotation = rotation_matrix(rng.normal(0, 4, 3)).astype(np.float32)
    return np.tensordot(rotation, points, axes=1)


def _fields(
    rng: np.random.Generator,
    count: int,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    wavelength: float,
) -> Field:
    return np.stack([smooth_field(rng, shape, spacing, wavelength) for _ in range(count)])


def rotation_matrix(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the (3, 3) rotation about the x, then y, then z axis."""
    cx, cy, cz = np.cos(np.radians(degrees))
    sx, sy, sz = np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _depth_in_ellipsoid(
    points: Field, center: tuple[float, ...], radii: NDArray[np.float64]
) -> Field:
    """Returns the depth below an ellipsoid's surface along the ray to its centre (mm)."""
    relative = points - np.asarray(center, np.float32)[:, None, None, None]
    distance = np.sqrt((relative**2).sum(axis=0)) + 1e-3
    scaled = relative / np.asarray(radii, np.float32)[:, None, None, None]
    return distance * (1 / (np.sqrt((scaled**2).sum(axis=0)) + 1e-5) - 1)


def _paired_depth(
    rng: np.random.Generator,
    points: Field,
    parts: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...],
    size: float,
) -> Field:
    """Returns the depth inside the union of ellipsoids on both sides of the midline (mm)."""
    depths = []
    for side in (-1, 1):
        for center, radii in parts:
            moved = (side * center[0], *(c + rng.normal(0, 1.0) for c in center[1:]))
            grown = np.array(radii) * size * rng.normal(1, 0.06, 3)
            depths.append(_depth_in_ellipsoid(points, moved, grown))
    return np.maximum.reduce(depths)


def _depth_below_folds(
    rng: np.random.Generator,
    points: Field,
    brain: Field,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> Field:
    """Returns the depth below the folded pial surface (mm).

    Sulci are the sheets where a random field is zero, down to a random depth; the cleft between
    the hemispheres is one more sheet, in the midline.
    """
    waves = smooth_field(rng, shape, spacing, 8.0)
    slope = np.sqrt(sum(g**2 for g in np.gradient(waves, *spacing)))
    to_sheet = np.abs(waves) / np.maximum(slope, 0.08)
    floor = np.clip(16 + 6 * smooth_field(rng, shape, spacing, 25.0), 4, 30)
    sulci = np.hypot(to_sheet, np.maximum(0, brain - floor))
    cleft = np.hypot(points[0], np.maximum(0, brain - rng.uniform(26, 32)))
    return np.minimum.reduce([brain, sulci - rng.uniform(0.8, 1.3), cleft - 1.0])


def _share_inside(depth: Field, spacing: tuple[float, float, float]) -> Field:
    """Returns the share of each voxel inside a surface, from the depth below it (mm)."""
    pixel = float(np.mean(sorted(spacing)[:2]))
    return np.clip(0.5 + depth / pixel, 0, 1)


def with_lesions(rng: np.random.Generator, anatomy: Anatomy) -> Anatomy:
    """Returns the same head with 4 to 9 lesions of 3 to 8 mm radius in its white matter."""
    fractions = anatomy.fractions.copy()
    white = np.flatnonzero(fractions[Tissue.WHITE_MATTER] > 0.95)
    for index in rng.choice(white, rng.integers(4, 10)) if white.size else ():
        center = tuple(float(axis.flat[index]) for axis in anatomy.points)
        depth = _depth_in_ellipsoid(anatomy.points, center, rng.uniform(3, 8, 3))
        inside = _share_inside(depth, anatomy.spacing)
        share = inside * fractions[Tissue.WHITE_MATTER]
        fractions[Tissue.WHITE_MATTER] -= share
        fractions[Tissue.LESION] += share
    return replace(anatomy, fractions=fractions)
