"""Reads the RGB volumes that this product writes, which are no scans and train nothing."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.checks import unchanged
from medstyle_gan.volumes.nifti_geometry import geometry_from_header
from medstyle_gan.volumes.nifti_header import raw_header
from medstyle_gan.volumes.nifti_reading import open_stream
from medstyle_gan.volumes.readers import read_volume
from medstyle_gan.volumes.volume import Volume

_RGB24 = 128


def read_shown_volume(path: str | os.PathLike[str]) -> Volume:
    """Reads a volume that is only to be looked at: of any known format, or an RGB NIfTI.

    Returns:
        As `read_volume`, or of an RGB NIfTI (X, Y, Z, 3) uint8.

    Raises:
        UserError: As `read_volume`.
    """
    path = Path(path)
    if not path.is_file() or not path.name.lower().endswith((".nii", ".nii.gz")):
        return read_volume(path, allow_constant=True)
    with unchanged([path]):
        with open_stream(path) as (_, start):
            header, version = raw_header(start, path)
        if int(header["datatype"]) != _RGB24:
            return read_volume(path, allow_constant=True)
        try:
            stored = np.asanyarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
        except Exception as error:  # nibabel has no one error for damaged bytes
            raise UserError(
                f"{path}: is truncated or damaged ({error}); copy or download the file again"
            ) from error
        shape = tuple(int(n) for n in stored.shape)
        geometry = geometry_from_header(header, shape, version, path)
        if any(n != 1 for n in shape[3:]):
            raise UserError(f"{path}: header field dim gives the shape {shape}: save one volume")
        # Three bytes a voxel, contiguous in whatever order the axes have.
        array = np.stack([stored[name] for name in ("R", "G", "B")], axis=-1)
        array = array.reshape(*geometry.spatial_shape, 3)
    return Volume(array, geometry, array.dtype, True, path)
