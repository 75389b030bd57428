"""Geometry out of spacing, origin and direction in LPS, as ITK and DICOM have them, and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.geometry import Geometry, LpsFrame, affine_fault

_FLIP = np.array([-1.0, -1.0, 1.0])  # LPS to RAS and back; a change of sign is exact


def geometry_from_lps(shape: tuple[int, ...], frame: LpsFrame, path: Path) -> Geometry:
    """Checks where the voxels lie and takes it over.

    Args:
        shape: On-disk shape of two to four axes, singletons after the third.
        frame: As the file has it, with as many axes.
        path: For messages.

    Raises:
        UserError: The frame gives no invertible affine, or mixes space with the fourth axis.
    """
    axes = min(len(shape), 3)
    outer = frame.direction.copy()
    outer[:axes, :axes] = 0
    if np.count_nonzero(outer - np.diag(np.diag(outer))):
        raise UserError(
            f"{path}: the direction matrix turns space into the fourth axis; "
            "save one three-dimensional volume of it"
        )
    affine = np.eye(4)
    affine[:axes, :axes] = frame.direction[:axes, :axes] * frame.spacing[:axes]
    affine[:axes, 3] = frame.origin[:axes]
    affine[:3] *= _FLIP[:, None]
    fault = affine_fault(affine)
    if fault is not None:
        raise UserError(
            f"{path}: the affine of spacing and direction {fault}; "
            "mend the header, or convert the volume again from its source"
        )
    return replace(Geometry.from_affine(shape, affine), lps=frame)


def lps_from_geometry(geometry: Geometry) -> LpsFrame:
    """Where the voxels lie, as ITK has it.

    Returns:
        The file's own numbers where it had them; else three axes from the affine, and a
        fourth of distance 1 where the shape has one. A shear stays in the direction.
    """
    frame = geometry.lps
    if frame is not None and _is_of(frame, geometry):
        return frame
    columns = geometry.affine[:3, :3] * _FLIP[:, None]
    spacing = np.linalg.norm(columns, axis=0)
    axes = 4 if len(geometry.shape) > 3 else 3
    full = LpsFrame(np.ones(axes), np.zeros(axes), np.eye(axes))
    full.spacing[:3] = spacing
    full.origin[:3] = geometry.affine[:3, 3] * _FLIP
    full.direction[:3, :3] = columns / spacing
    return full


def _is_of(frame: LpsFrame, geometry: Geometry) -> bool:
    """Whether the affine is still the frame's, and was not replaced after reading."""
    if len(frame.spacing) != min(len(geometry.shape), 4):
        return False
    again = geometry_from_lps(geometry.shape, frame, Path())
    return bool(np.array_equal(again.affine, geometry.affine))
