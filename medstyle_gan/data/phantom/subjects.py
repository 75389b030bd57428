"""One phantom subject: a scan, the true style volume on its grid, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medstyle_gan.data.phantom.acquisition import (
    PHANTOM_KINDS,
    PhantomKind,
    acquire_scan,
    acquire_style,
)
from medstyle_gan.data.phantom.anatomy import (
    Tissue,
    make_anatomy,
    rotation_matrix,
    with_lesions,
)
from medstyle_gan.data.phantom.fields import Field

Voxel = TypeVar("Voxel", bound=np.generic)

_FIELD_OF_VIEW = 204.0  # mm in plane, room for a head and its movement
_ORIENTATIONS = ("LPS", "RAS", "LAS", "RPS")


@dataclass(frozen=True)
class Phantom:
    """A subject whose truth is known.

    Attributes:
        scan: (X, Y, Z) float32, whole numbers in native units.
        style: The same subject's true style volume, a second acquisition on the same grid.
        labels: (X, Y, Z) uint8, the value of the most frequent `Tissue`.
        mask: (X, Y, Z) bool, the head.
        affine: (4, 4) float64, voxel to mm RAS+; slightly oblique, in one of four orientations.
        dtype: On-disk type of the intensities, int16 or uint16.
    """

    scan: Field
    style: Field
    labels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    dtype: np.dtype[np.generic]

    @property
    def lesion_mask(self) -> NDArray[np.bool_]:
        """Voxels that are mostly lesion, (X, Y, Z)."""
        return self.labels == Tissue.LESION


def make_phantom(
    seed: int,
    shape: tuple[int, int, int] = (96, 96, 24),
    lesions: bool = False,
    kind: PhantomKind = "mr_t1_to_t2",
) -> Phantom:
    """Makes one subject; the same arguments always give the same phantom.

    Args:
        seed: The subject.
        shape: Voxels across, front to back and along the head. In plane a slice shows the
            whole head; slices are 3 mm thick, or thinner where more than 48 are asked for.
        lesions: Adds white-matter lesions; all else stays the same.
        kind: `mr_t1_to_t2` (the contrast map is not monotone), `cbct_to_ct` (HU, cupping,
            streaks, noise), `mr_scanner` (same contrast order; another gain, bias, sharpness) or
            `mr_contrast` (same contrast order; from little contrast in much noise to much in
            little).

    Returns:
        The phantom. Array axes follow the affine's orientation, which differs by subject, with
        axial slices along the last axis.

    Raises:
        ValueError: The kind is unknown or an axis is shorter than 8 voxels.
    """
    if kind not in PHANTOM_KINDS:
        raise ValueError(f"unknown phantom kind {kind!r}: choose one of {', '.join(PHANTOM_KINDS)}")
    if min(shape) < 8:
        raise ValueError(f"phantom shape {shape} is too small: at least 8 voxels along each axis")
    # A stream for each purpose: a subject with and without lesions is otherwise the same.
    grid_rng, head_rng, lesion_rng, scan_rng, style_rng = (
        np.random.Generator(np.random.Philox(stream))
        for stream in np.random.SeedSequence(seed).spawn(5)
    )
    in_plane = _FIELD_OF_VIEW * grid_rng.uniform(0.97, 1.05) / min(shape[:2])
    spacing = (in_plane, in_plane, min(3.0, 144.0 / shape[2]))
    anatomy = make_anatomy(head_rng, shape, spacing)
    if lesions:
        anatomy = with_lesions(lesion_rng, anatomy)
    scan = acquire_scan(scan_rng, anatomy, kind)
    style = acquire_style(style_rng, anatomy, kind)
    orientation = grid_rng.choice(_ORIENTATIONS)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )

    def turned(array: NDArray[Voxel]) -> NDArray[Voxel]:
        return np.ascontiguousarray(nib.orientations.apply_orientation(array, turn))

    affine = _oblique_affine(grid_rng, shape, spacing) @ nib.orientations.inv_ornt_aff(turn, shape)
    # Few scanners store signed MR; HU are signed by nature.
    dtype = np.dtype(np.int16 if kind == "cbct_to_ct" else grid_rng.choice(["int16", "uint16"]))
    return Phantom(
        scan=turned(np.rint(scan)),
        style=turned(np.rint(style)),
        labels=turned(anatomy.labels),
        mask=turned(anatomy.mask),
        affine=affine,
        dtype=dtype,
    )


def _oblique_affine(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Returns a RAS affine turned by a few degrees, the volume's centre near the origin."""
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix(rng.normal(0, 4, 3)) @ np.diag(spacing)
    center = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] = rng.normal(0, 10, 3) - center
    return affine
