"""Writes NIfTI with the geometry that was read, whole or not at all, and no text of anyone's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_file
from medstyle_gan.volumes.geometry import Geometry
from medstyle_gan.volumes.gzip_stream import GzipWriter
from medstyle_gan.volumes.nifti_geometry import geometry_to_header
from medstyle_gan.volumes.voxel_types import fit_voxels, to_dtype
from medstyle_gan.volumes.workspace import release

# On a noisy float32 head, level 6 takes a third longer for 2 % fewer bytes; on uint16, half as
# long again for 3 %.
GZIP_LEVEL = 1
RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_NO_EXTENSIONS = bytes(4)


def write_nifti(
    path: str | os.PathLike[str],
    array: np.ndarray,
    geometry: Geometry,
    dtype: np.dtype | type | str | None = None,
) -> None:
    """Writes a volume with exactly this geometry.

    Shape (with a singleton fourth axis where `geometry.shape` has one), affine, sform and
    qform with their codes, voxel sizes, units, time axis and NIfTI version are those of
    `geometry`. Nothing else of the source is written: no description, database name,
    auxiliary file or extension, and no name or time in the gzip header.

    Args:
        path: `.nii` or `.nii.gz`; the folder is made if it is missing.
        array: (X, Y, Z) grey, or (X, Y, Z, 3) colour in [0, 255], written as RGB24. The
            spatial shape is `geometry.spatial_shape`.
        geometry: Of the volume that the array belongs to.
        dtype: On-disk type; default the array's own (bool as uint8, float16 as float32,
            colour always uint8). To integers, values are rounded to the nearest and clipped
            to the type's range.

    Raises:
        UserError: The folder is not writable or the disk is full; no half file is left, and
            an older file at `path` stays.
        ValueError: The array does not fit the geometry, or NIfTI has no such type.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        raise UserError(f"{path}: a volume is written as .nii or .nii.gz; change the file's ending")
    voxels = fit_voxels(array, geometry, dtype)
    header = geometry_to_header(geometry)
    header.set_data_dtype(RGB24 if voxels.colour else voxels.dtype)
    header["vox_offset"] = header.single_vox_offset
    with atomic_file(path) as file:
        writer = GzipWriter(file, GZIP_LEVEL) if name.endswith(".gz") else None
        write = file.write if writer is None else writer.write
        write(header.binaryblock + _NO_EXTENSIONS)
        for slab in _slabs(voxels.array, voxels.dtype):
            write(slab)
        if writer is not None:
            writer.finish()


def _slabs(array: np.ndarray, dtype: np.dtype) -> Iterator[bytes]:
    """The voxels as NIfTI orders them (X fastest; colours together), one Z at a time."""
    for z in range(array.shape[2]):
        slab = to_dtype(array[:, :, z], dtype)
        yield np.ascontiguousarray(slab.swapaxes(0, 1)).tobytes()
        release(array)
