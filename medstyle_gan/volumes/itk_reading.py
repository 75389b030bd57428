"""Reads NRRD (`.nrrd`) and MetaImage (`.mha`, `.mhd`) through SimpleITK."""

from __future__ import annotations

from pathlib import Path

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.checks import check_memory, check_values, unchanged
from medstyle_gan.volumes.itk_header import itk_reason, open_itk
from medstyle_gan.volumes.volume import Volume, VolumeHeader
from medstyle_gan.volumes.workspace import Workspace, copy_in_blocks


def read_itk_header(path: Path) -> VolumeHeader:
    """Reads and checks a header without the voxels.

    Raises:
        UserError: As `read_itk`, but for what only the voxels show.
    """
    return open_itk(path)[1].describe()


def read_itk(
    path: Path, allow_constant: bool = False, workspace: Workspace | None = None
) -> Volume:
    """Reads and checks a volume.

    Args:
        path: `.nrrd`, `.mha`, or `.mhd` with the file of its voxels.
        allow_constant: Accept one value everywhere, as an empty mask has.
        workspace: See `load_itk`.

    Raises:
        UserError: As `load_itk`; NaN, infinities, or one value only.
    """
    volume = load_itk(path, workspace)
    check_values(volume.array, path, allow_constant)
    return volume


def load_itk(path: Path, workspace: Workspace | None = None) -> Volume:
    """Reads a volume, whatever its values are.

    Its place is turned from LPS into RAS exactly, and its text is left. An NRRD without
    `space` is taken as LPS, as every ITK program takes it.

    Args:
        path: `.nrrd`, `.mha`, or `.mhd` with the file of its voxels.
        workspace: Where the array is made; in memory by default. SimpleITK itself holds the
            stored voxels in memory meanwhile.

    Raises:
        UserError: The file is missing, empty, truncated, of another format, larger than it
            can be or than memory; has several frames or channels, or no usable affine. Names
            the file, the field and the remedy.
    """
    import SimpleITK as sitk

    reader, layout = open_itk(path)
    check_memory(layout.geometry.shape, layout.dtype, "the header", path)
    with unchanged([layout.data]):
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise UserError(
                f"{path}: its voxels cannot be read ({itk_reason(error)}): it is truncated or "
                "damaged; copy or download the file again"
            ) from error
    shape = layout.geometry.spatial_shape
    # (Z, Y, X) in C order is (X, Y, Z) in Fortran order.
    view = sitk.GetArrayViewFromImage(image).reshape(shape[::-1])
    array = (workspace or Workspace()).empty(view.shape, layout.dtype)
    copy_in_blocks(array, view)
    array = array.T
    return Volume(array, layout.geometry, layout.dtype, layout.dtype.kind in "iu", path)
