"""Geometry out of a NIfTI header and back into one."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.geometry import Geometry, affine_fault

# xyzt_units & 7: unknown is taken as millimetres, as every reader does; ITK converts likewise.
_MILLIMETRES_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


def geometry_from_header(
    header: nib.Nifti1Header, shape: tuple[int, ...], version: int, path: Path
) -> Geometry:
    """Reads and checks where the voxels lie.

    A file without sform and qform (both codes 0, like Analyze) has only its voxel sizes. It
    is accepted as nibabel reads it: radiological order (first axis towards the left), the
    origin in the middle.

    Args:
        header: As it stands in the file, before nibabel mends anything.
        shape: On-disk shape.
        version: 1 or 2.
        path: For messages.

    Raises:
        UserError: The field that counts gives no invertible affine.
    """
    fields = Geometry(
        shape=shape,
        affine=np.eye(4),
        version=version,
        sform_code=int(header["sform_code"]),
        srow=np.stack([header[f"srow_{axis}"] for axis in "xyz"]).astype(np.float64),
        qform_code=int(header["qform_code"]),
        quaternion=np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64),
        qoffset=np.array([header[f"qoffset_{axis}"] for axis in "xyz"], dtype=np.float64),
        pixdim=header["pixdim"].astype(np.float64),
        xyzt_units=int(header["xyzt_units"]),
        toffset=float(header["toffset"]),
        dim_info=int(header["dim_info"]),
    )
    affine = _affine(fields, header, path)
    unit = _MILLIMETRES_PER_UNIT.get(fields.xyzt_units & 7)
    if unit is None:
        raise UserError(
            f"{path}: header field xyzt_units has the unknown length unit {fields.xyzt_units & 7}; "
            "set it to 2 (millimetres)"
        )
    affine[:3] *= unit
    return Geometry(**{**vars(fields), "affine": affine})


def geometry_to_header(geometry: Geometry) -> nib.Nifti1Header:
    """A fresh header that holds a geometry and nothing else.

    Args:
        geometry: What to hold, field by field as it was read.

    Returns:
        A NIfTI-1 or NIfTI-2 header: no text, no intent, no scaling but slope 1.
    """
    header = nib.Nifti1Header() if geometry.version == 1 else nib.Nifti2Header()
    header["dim"] = [len(geometry.shape), *geometry.shape] + [1] * (7 - len(geometry.shape))
    header["pixdim"] = geometry.pixdim
    header["sform_code"] = geometry.sform_code
    header["qform_code"] = geometry.qform_code
    for row, axis in enumerate("xyz"):
        header[f"srow_{axis}"] = geometry.srow[row]
        header[f"qoffset_{axis}"] = geometry.qoffset[row]
        header[f"quatern_{'bcd'[row]}"] = geometry.quaternion[row]
    header["xyzt_units"] = geometry.xyzt_units
    header["toffset"] = geometry.toffset
    header["dim_info"] = geometry.dim_info
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header


def _affine(fields: Geometry, header: nib.Nifti1Header, path: Path) -> np.ndarray:
    if fields.sform_code > 0:
        affine = np.vstack([fields.srow, [0, 0, 0, 1]])
        name, mend = "sform (srow_x, srow_y, srow_z)", "mend it, or set sform_code to 0"
    else:
        header = header.copy()
        sizes = fields.pixdim[1:4]
        sizes[len(fields.shape) :] = 1  # the axes a 2-D file does not have
        if not np.isfinite(sizes).all() or not sizes.all():
            raise UserError(
                f"{path}: header field pixdim gives the voxel sizes {sizes.tolist()} and there is "
                "no sform to use instead; write the true sizes in millimetres into it"
            )
        header["pixdim"][1:4] = np.abs(sizes)  # a negative size has no meaning in NIfTI
        try:
            affine = np.array(header.get_best_affine(), dtype=np.float64)
        except (ValueError, nib.spatialimages.HeaderDataError) as error:
            raise UserError(
                f"{path}: header field quatern_b/c/d is no rotation ({error}); "
                "mend it, or set qform_code to 0"
            ) from error
        name, mend = "qform (quatern, qoffset, pixdim)", "mend it, or set qform_code to 0"
    fault = affine_fault(affine)
    if fault is not None:
        raise UserError(
            f"{path}: the affine in the header field {name} {fault}; {mend}, "
            "or convert the volume again from its source"
        )
    return affine
