"""Whatever Python users hold a volume in, as a `Volume`."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry, Volume, read_volume
from medstyle_gan.volumes.nifti_geometry import geometry_from_header
from medstyle_gan.volumes.workspace import Workspace

_IN_MEMORY = Path("nibabel image")


def as_volume(
    image: Volume | str | Path | nib.spatialimages.SpatialImage, workspace: Workspace | None = None
) -> Volume:
    """Take a volume, read its file, or take over a nibabel image.

    Args:
        image: a volume, a path, or a nibabel image with one grey frame.
        workspace: where the array of a file is made; in memory by default.

    Raises:
        UserError: for a file or an image that cannot be translated.
        TypeError: for anything else, such as an array, which has no geometry.
    """
    if isinstance(image, Volume):
        return image
    if isinstance(image, str | Path):
        return read_volume(image, workspace=workspace)
    if isinstance(image, nib.spatialimages.SpatialImage):
        return _from_nibabel(image)
    raise TypeError(
        f"a {type(image).__name__} has no geometry: give a path, a nibabel image, or "
        "Volume(array, Geometry.from_affine(array.shape, affine), ...)"
    )


def _from_nibabel(image: nib.spatialimages.SpatialImage) -> Volume:
    stored = image.get_data_dtype()
    shape = tuple(int(n) for n in image.shape)
    if stored.kind not in "iuf":
        raise UserError(f"{_IN_MEMORY}: voxels of type {stored} are not one grey value each")
    if len(shape) < 2 or any(n != 1 for n in shape[3:]):
        raise UserError(f"{_IN_MEMORY}: shape {shape} is not one volume; give one frame at a time")
    array = np.asanyarray(image.dataobj)
    if not np.isfinite(array).all():
        raise UserError(f"{_IN_MEMORY}: holds NaN or infinity; replace them first")
    if array.min() == array.max():
        raise UserError(f"{_IN_MEMORY}: every voxel has the same value, nothing to translate")
    if isinstance(image, nib.Nifti1Image):
        version = 2 if isinstance(image, nib.Nifti2Image) else 1
        geometry = geometry_from_header(image.header, shape, version, _IN_MEMORY)
    else:
        geometry = Geometry.from_affine(shape, image.affine)
    return Volume(
        array=array.reshape(geometry.spatial_shape),
        geometry=geometry,
        dtype=stored.newbyteorder("="),
        integer=array.dtype.kind in "iu",
        path=None,
    )
