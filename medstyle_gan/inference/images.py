"""Whatever Python users hold a volume in, as a `Volume`, and a translation in the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import ArrayLike
from torch import Tensor

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry, Volume, read_volume
from medstyle_gan.volumes.nifti_geometry import geometry_from_header, geometry_to_header
from medstyle_gan.volumes.workspace import Workspace

Image: TypeAlias = Volume | str | Path | nib.spatialimages.SpatialImage | Tensor | np.ndarray

_IN_MEMORY = Path("image in memory")


def as_volume(
    image: Image, affine: ArrayLike | None = None, workspace: Workspace | None = None
) -> Volume:
    """Take a volume, read its file, or take over an image or an array.

    Args:
        image: a volume, a path, a nibabel image with one grey frame, a MONAI `MetaTensor`, or a
            tensor or array; the last three `(X, Y, Z)`, or `(1, X, Y, Z)` with a channel first.
        affine: `(4, 4)`, voxel index to mm, RAS+, of a tensor or array; a `MetaTensor` has its
            own, used where this is None.
        workspace: where the array of a file is made; in memory by default.

    Raises:
        UserError: for a file, image or array that cannot be translated.
        TypeError: for anything else, an array without `affine`, and an affine for what has one.
    """
    if isinstance(image, Tensor | np.ndarray):
        if affine is None and isinstance(image, MetaTensor):
            affine = image.affine.numpy(force=True)
        return _from_array(image, affine)
    if affine is not None:
        raise TypeError(f"a {type(image).__name__} has a geometry of its own: leave affine out")
    if isinstance(image, Volume):
        return image
    if isinstance(image, str | Path):
        return read_volume(image, workspace=workspace)
    if isinstance(image, nib.spatialimages.SpatialImage):
        return _from_nibabel(image)
    raise TypeError(
        f"a {type(image).__name__} is no image: give a path, a Volume, a nibabel image, a "
        "MetaTensor, or an array or tensor with its affine"
    )


def like(image: Image, translation: Volume) -> Any:
    """A translation in the kind of the image that it was made from.

    Args:
        image: what was translated, as `as_volume` takes it.
        translation: its translation.

    Returns:
        for a path or `Volume` the translation itself; for a nibabel image a `Nifti1Image` (or
        `Nifti2Image` for one) with the image's geometry; for an array an array; for a tensor a
        float32 tensor on its device, with a channel axis where it had one; for a `MetaTensor` a
        `MetaTensor` with its affine and metadata.
    """
    if isinstance(image, nib.spatialimages.SpatialImage):
        return _to_nibabel(translation)
    if not isinstance(image, Tensor | np.ndarray):
        return translation
    array = translation.array
    if image.ndim == 4:  # a channel first, three of them for a colour style
        array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    if isinstance(image, np.ndarray):
        return np.ascontiguousarray(array)
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(image.device)
    if isinstance(image, MetaTensor):
        return MetaTensor(tensor, meta=image.meta, applied_operations=image.applied_operations)
    return tensor


def _from_array(image: Tensor | np.ndarray, affine: ArrayLike | None) -> Volume:
    if affine is None:
        raise TypeError(
            f"a {type(image).__name__} has no geometry: give its affine, the (4, 4) matrix from "
            "voxel indices to mm (RAS+)"
        )
    array = image.numpy(force=True) if isinstance(image, Tensor) else image
    shape = array.shape
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or 0 in shape:
        raise UserError(
            f"{_IN_MEMORY}: shape {shape} is not one volume; give (X, Y, Z) or (1, X, Y, Z)"
        )
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{_IN_MEMORY}: voxels of type {array.dtype} are not one grey value each")
    _check_values(array)
    try:
        geometry = Geometry.from_affine(array.shape, np.asarray(affine, dtype=np.float64))
    except ValueError as error:
        raise UserError(f"{_IN_MEMORY}: {error}; give the volume's own affine") from error
    integer = array.dtype.kind in "iu" or bool((array == np.rint(array)).all())
    return Volume(array, geometry, array.dtype.newbyteorder("="), integer, None)


def _from_nibabel(image: nib.spatialimages.SpatialImage) -> Volume:
    stored = image.get_data_dtype()
    shape = tuple(int(n) for n in image.shape)
    if stored.kind not in "iuf":
        raise UserError(f"{_IN_MEMORY}: voxels of type {stored} are not one grey value each")
    if len(shape) < 2 or any(n != 1 for n in shape[3:]):
        raise UserError(f"{_IN_MEMORY}: shape {shape} is not one volume; give one frame at a time")
    array = np.asanyarray(image.dataobj)
    _check_values(array)
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


def _check_values(array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise UserError(f"{_IN_MEMORY}: holds NaN or infinity; replace them first")
    if array.min() == array.max():
        raise UserError(f"{_IN_MEMORY}: every voxel has the same value, nothing to translate")


def _to_nibabel(volume: Volume) -> nib.Nifti1Image:
    header = geometry_to_header(volume.geometry)
    array = volume.array
    if array.ndim == 4:
        colour = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        array = np.ascontiguousarray(array).view(colour)[..., 0]
    array = array.reshape(volume.geometry.shape)
    header.set_data_dtype(array.dtype)
    kind = nib.Nifti1Image if volume.geometry.version == 1 else nib.Nifti2Image
    return kind(array, header.get_best_affine(), header)
