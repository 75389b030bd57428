"""Writes NRRD and MetaImage through SimpleITK, whole or not at all, and no text of anyone's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_files
from medstyle_gan.volumes.geometry import Geometry
from medstyle_gan.volumes.itk_header import IMAGE_IO, itk_reason
from medstyle_gan.volumes.lps_geometry import lps_from_geometry
from medstyle_gan.volumes.voxel_types import fit_voxels, to_dtype

_GZIP_LEVEL = 1


def write_itk(
    path: str | os.PathLike[str],
    array: np.ndarray,
    geometry: Geometry,
    dtype: np.dtype | type | str | None = None,
) -> None:
    """Writes a volume with this geometry; see `write_volume`.

    `.nrrd` and `.mha` are compressed; `.mhd` is written with a `.raw` beside it, which other
    programs can map into memory. What these formats have no field for (sform and qform apart,
    their codes, units) is not written; a file that came from one of them gets its own
    spacing, origin and direction back.

    Args:
        path: `.nrrd`, `.mha` or `.mhd`; the folder is made if it is missing.
        array: (X, Y, Z) grey, or (X, Y, Z, 3) colour in [0, 255].
        geometry: Of the volume that the array belongs to.
        dtype: On-disk type; default the array's own (bool as uint8, float16 as float32).

    Raises:
        UserError: The folder is not writable or the disk is full.
        ValueError: The array does not fit the geometry, or there is no such type.
    """
    import SimpleITK as sitk

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".mhd" and set(path.name) & set("%\n\r"):
        raise UserError(
            f"{path}: a .mhd cannot hold this name of the file beside it; use .mha, or a name "
            "without % and line breaks"
        )
    voxels = fit_voxels(array, geometry, dtype)
    frame = lps_from_geometry(geometry)
    axes = len(frame.spacing)
    shape = (*geometry.spatial_shape[:axes], *[1] * (axes - 3))
    stored = to_dtype(voxels.array, voxels.dtype)
    channels = stored.shape[3:]
    stored = stored.reshape(*shape, *channels)
    order = (*reversed(range(axes)), *range(axes, stored.ndim))
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored.transpose(order)), bool(channels))
    image.SetSpacing(frame.spacing.tolist())
    image.SetOrigin(frame.origin.tolist())
    image.SetDirection(frame.direction.ravel().tolist())
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(IMAGE_IO[suffix])
    writer.SetUseCompression(suffix != ".mhd")
    writer.SetCompressionLevel(_GZIP_LEVEL)
    with atomic_files(path) as temporary:
        writer.SetFileName(str(temporary))
        try:
            writer.Execute(image)
        except RuntimeError as error:  # ITK tells a full disk no other way
            raise UserError(
                f"{path}: cannot be written, no half file was left ({itk_reason(error)}); is the "
                "disk full? Free some space or write to another disk"
            ) from error
