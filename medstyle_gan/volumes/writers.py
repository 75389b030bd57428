"""Which file is written by what: one table of volume formats, chosen by the file's ending."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.geometry import Geometry
from medstyle_gan.volumes.itk_writing import write_itk
from medstyle_gan.volumes.nifti_writing import write_nifti

WRITERS: dict[str, Callable[..., None]] = {
    ".nii.gz": write_nifti,
    ".nii": write_nifti,
    ".nrrd": write_itk,
    ".mha": write_itk,
    ".mhd": write_itk,
}


def write_volume(
    path: str | os.PathLike[str],
    array: np.ndarray,
    geometry: Geometry,
    dtype: np.dtype | type | str | None = None,
) -> None:
    """Writes a volume in the format that the file's ending names, whole or not at all.

    Args:
        path: Ends in one of `WRITERS`; the folder is made if it is missing.
        array: (X, Y, Z) grey, or (X, Y, Z, 3) colour in [0, 255].
        geometry: Of the volume that the array belongs to; no other text of it is written.
        dtype: On-disk type; default the array's own (bool as uint8, float16 as float32, colour
            always uint8). To integers, values are rounded to the nearest and clipped.

    Raises:
        UserError: Another ending; the folder is not writable or the disk is full.
        ValueError: The array does not fit the geometry, or the format has no such type.
    """
    path = Path(path)
    for suffix, write in WRITERS.items():
        if path.name.lower().endswith(suffix):
            write(path, array, geometry, dtype)
            return
    raise UserError(
        f"{path}: a volume is written as {', '.join(WRITERS)}; change the file's ending"
    )
