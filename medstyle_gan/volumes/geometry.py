"""Where a volume's voxels lie: all that writing needs to give the same header geometry back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

MILLIMETRE, SECOND = 2, 8  # NIfTI's codes in `xyzt_units`
LARGEST_NIFTI1_AXIS = 32767  # `dim` is int16 in NIfTI-1


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class LpsFrame:
    """The place of a grid as NRRD, MetaImage and DICOM hold it: in millimetres, LPS+.

    Attributes:
        spacing: (n,) distance of neighbours along each of the file's n axes.
        origin: (n,) place of the first voxel.
        direction: (n, n), a column an axis, of unit length.
    """

    spacing: np.ndarray
    origin: np.ndarray
    direction: np.ndarray


@dataclass(frozen=True, eq=False)
class Geometry:
    """Shape and position of a volume, with the header fields that describe them.

    The fields from `version` to `dim_info` are the NIfTI fields of the same name as they
    stood in the file, in its own units, so that writing returns them unchanged even where
    sform, qform and pixdim disagree. float64 holds NIfTI-1's float32 values exactly. A volume
    that came from another format has in them what `from_affine` makes, and in `lps` its own
    numbers. Two geometries are compared with `same_grid`, not `==`.

    Attributes:
        shape: On-disk shape with its trailing singletons, e.g. (X, Y, Z) or (X, Y, Z, 1).
        affine: (4, 4) float64, voxel index to millimetres, RAS+. It is the one that nibabel
            chooses (sform, else qform, else from pixdim), converted to millimetres where
            `xyzt_units` says metres or micrometres.
        version: NIfTI version, 1 or 2.
        sform_code: 0 for absent.
        srow: (3, 4), rows srow_x, srow_y, srow_z.
        qform_code: 0 for absent.
        quaternion: (3,) quatern_b, quatern_c, quatern_d.
        qoffset: (3,) qoffset_x, qoffset_y, qoffset_z.
        pixdim: (8,), with qfac first and the frame time fifth.
        xyzt_units: Units code of space and time.
        toffset: Start of the time axis.
        dim_info: Which axes were frequency, phase and slice encoded.
        lps: What a file of NRRD, MetaImage or DICOM said, which the affine gives back only
            to the last bit; None for NIfTI.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    version: int = 1
    sform_code: int = 0
    srow: np.ndarray = field(default_factory=lambda: _zeros(3, 4))
    qform_code: int = 0
    quaternion: np.ndarray = field(default_factory=lambda: _zeros(3))
    qoffset: np.ndarray = field(default_factory=lambda: _zeros(3))
    pixdim: np.ndarray = field(default_factory=lambda: np.ones(8))
    xyzt_units: int = MILLIMETRE
    toffset: float = 0.0
    dim_info: int = 0
    lps: LpsFrame | None = None

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """(X, Y, Z); axes that the file does not have count 1."""
        x, y, z = (*self.shape, 1, 1)[:3]
        return (x, y, z)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along X, Y, Z in millimetres."""
        x, y, z = (float(size) for size in voxel_sizes(self.affine))
        return (x, y, z)

    @property
    def orientation(self) -> str:
        """Where X, Y and Z point to, to the nearest anatomical axis, e.g. "LPS"."""
        return "".join(nib.aff2axcodes(self.affine))

    def same_grid(self, other: Geometry, tolerance: float = 1e-3) -> bool:
        """Whether both have the same voxels in the same places.

        Args:
            other: The geometry to compare with.
            tolerance: How far (mm) any corner of the grid may differ.
        """
        if self.spatial_shape != other.spatial_shape:
            return False
        corners = np.stack(
            np.meshgrid(*((0, size - 1) for size in self.spatial_shape), [1], indexing="ij")
        ).reshape(4, -1)
        difference = ((self.affine - other.affine) @ corners)[:3]
        return bool(np.linalg.norm(difference, axis=0).max() <= tolerance)

    @staticmethod
    def from_affine(shape: Sequence[int], affine: np.ndarray) -> Geometry:
        """Geometry of an array that never was a file.

        Args:
            shape: (X, Y, Z), optionally with trailing singletons.
            affine: (4, 4), voxel index to millimetres, RAS+.

        Returns:
            sform with code 1 holding `affine`; qform with code 1 where the affine has no
            shear (a quaternion cannot hold one), else 0; millimetres and seconds; NIfTI-2
            where an axis is too long for NIfTI-1.

        Raises:
            ValueError: The shape or affine is not one of a volume.
        """
        shape = tuple(int(size) for size in shape)
        affine = np.array(affine, dtype=np.float64)
        if len(shape) < 2 or min(shape) < 1 or any(size != 1 for size in shape[3:]):
            raise ValueError(f"{shape} is not the shape of a volume (X, Y, Z)")
        if affine.shape != (4, 4) or affine_fault(affine) is not None:
            raise ValueError(f"not an invertible (4, 4) affine: {affine.tolist()}")
        version = 1 if max(shape) <= LARGEST_NIFTI1_AXIS else 2
        header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)()
        header.set_data_shape(shape)
        header.set_qform(affine, code=1, strip_shears=True)
        shears = not np.allclose(header.get_qform(), affine, rtol=1e-4, atol=1e-3)
        return Geometry(
            shape=shape,
            affine=affine,
            version=version,
            sform_code=1,
            srow=affine[:3].copy(),
            qform_code=0 if shears else 1,
            quaternion=np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64),
            qoffset=np.array([header[f"qoffset_{axis}"] for axis in "xyz"], dtype=np.float64),
            pixdim=header["pixdim"].astype(np.float64),
            xyzt_units=MILLIMETRE | SECOND,
        )


def affine_fault(affine: np.ndarray) -> str | None:
    """What makes a (4, 4) affine unusable, or None for a good one."""
    if not np.isfinite(affine).all():
        return "holds NaN or infinity"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # A voxel under a picometre, in whichever unit, is a field that was never filled in.
    if lengths.min() < 1e-9:
        axis = "XYZ"[int(lengths.argmin())]
        return f"gives voxels no size along {axis}"
    # Unit columns: 1 for orthogonal axes, cos(tilt) for a tilted gantry, 0 for singular.
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-4:
        return "is singular (two axes point the same way)"
    return None
