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
from medstyle_gan.volumes.workspace import release

# On a noisy float32 head, level 6 takes a third longer for 2 % fewer bytes; on uint16, half as
# long again for 3 %.
GZIP_LEVEL = 1
RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_NO_EXTENSIONS = bytes(4)
_DTYPES = frozenset(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])


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
    array = np.asarray(array)
    colour = array.ndim == 4 and array.shape == (*geometry.spatial_shape, 3)
    if array.shape == geometry.shape:
        array = array.reshape(geometry.spatial_shape)
    if not colour and array.shape != geometry.spatial_shape:
        raise ValueError(f"array of shape {array.shape} for a volume of shape {geometry.shape}")
    target = np.dtype(np.uint8) if colour else _target_dtype(array, dtype)
    if colour and dtype is not None and np.dtype(dtype) != target:
        raise ValueError(f"colour is written as uint8, not {np.dtype(dtype)}")
    header = geometry_to_header(geometry)
    header.set_data_dtype(RGB24 if colour else target)
    header["vox_offset"] = header.single_vox_offset
    with atomic_file(path) as file:
        writer = GzipWriter(file, GZIP_LEVEL) if name.endswith(".gz") else None
        write = file.write if writer is None else writer.write
        write(header.binaryblock + _NO_EXTENSIONS)
        for slab in _slabs(array, target):
            write(slab)
        if writer is not None:
            writer.finish()


def to_dtype(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in another type: rounded to the nearest and clipped where that is an integer type.

    Args:
        array: Any shape; bool, integer or float.
        dtype: Integer or float.

    Raises:
        ValueError: NaN cannot become an integer.
    """
    if dtype.kind == "f" or array.dtype == dtype or array.dtype.kind == "b":
        return array.astype(dtype, copy=False)
    range_ = np.iinfo(dtype)
    if array.dtype.kind in "iu":
        own = np.iinfo(array.dtype)
        clipped = array.clip(max(range_.min, own.min), min(range_.max, own.max))
        return clipped.astype(dtype)
    if np.isnan(array).any():
        raise ValueError(f"NaN cannot be written as {dtype}")
    low, high = np.float64(range_.min), np.float64(range_.max)
    if int(high) > range_.max:  # 2**63 and 2**64 are floats, but one too many for the type
        high = np.nextafter(high, 0)
    return np.rint(array.astype(np.float64, copy=False)).clip(low, high).astype(dtype)


def _target_dtype(array: np.ndarray, dtype: np.dtype | type | str | None) -> np.dtype:
    wanted = np.dtype(array.dtype if dtype is None else dtype).newbyteorder("=")
    if dtype is None and wanted.kind == "b":
        return np.dtype(np.uint8)
    if dtype is None and wanted == np.float16:
        return np.dtype(np.float32)
    if wanted.str[1:] not in _DTYPES or array.dtype.kind not in "biuf":
        raise ValueError(f"{array.dtype} cannot be written to NIfTI as {wanted}")
    return wanted


def _slabs(array: np.ndarray, dtype: np.dtype) -> Iterator[bytes]:
    """The voxels as NIfTI orders them (X fastest; colours together), one Z at a time."""
    for z in range(array.shape[2]):
        slab = to_dtype(array[:, :, z], dtype)
        yield np.ascontiguousarray(slab.swapaxes(0, 1)).tobytes()
        release(array)
