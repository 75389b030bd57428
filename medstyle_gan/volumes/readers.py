"""Which file is read by what: one table of volume formats, chosen by the file name's ending.

A folder is read as the DICOM series in it, whose files often have no ending.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.checks import unchanged
from medstyle_gan.volumes.dicom_files import DICOM_SUFFIXES
from medstyle_gan.volumes.dicom_reading import read_dicom_folder, read_dicom_folder_header
from medstyle_gan.volumes.itk_reading import read_itk, read_itk_header
from medstyle_gan.volumes.nifti_reading import read_nifti, read_nifti_header
from medstyle_gan.volumes.pictures import PICTURE_SUFFIXES
from medstyle_gan.volumes.volume import Volume, VolumeHeader
from medstyle_gan.volumes.workspace import Workspace


class _ReadVolume(Protocol):
    def __call__(
        self, path: Path, allow_constant: bool = False, workspace: Workspace | None = None
    ) -> Volume: ...


@dataclass(frozen=True)
class Reader:
    """How one format is read.

    Attributes:
        read: The whole volume, checked.
        read_header: The header alone, checked.
    """

    read: _ReadVolume
    read_header: Callable[[Path], VolumeHeader]


_NIFTI = Reader(read_nifti, read_nifti_header)
_ITK = Reader(read_itk, read_itk_header)
READERS: dict[str, Reader] = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    ".nrrd": _ITK,
    ".mha": _ITK,
    ".mhd": _ITK,
}
VOLUME_SUFFIXES = tuple(READERS)
_DICOM_FOLDER = Reader(read_dicom_folder, read_dicom_folder_header)


def stem_of(path: str | os.PathLike[str], *endings: str) -> str:
    """A file's name without the ending of its format; all of it where that is of no format.

    Args:
        path: The file.
        endings: Of other formats, such as `.gif`.
    """
    name = Path(path).name
    known = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES, *endings)
    for ending in sorted(known, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_volume(path: str | os.PathLike[str]) -> bool:
    """Whether the name is one of a volume that can be read (`._…`, macOS's shadows, are not)."""
    return _has_suffix(path, VOLUME_SUFFIXES)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether the name is one of a picture that can be read (`._…`, macOS's shadows, are not)."""
    return _has_suffix(path, PICTURE_SUFFIXES)


def read_volume(
    path: str | os.PathLike[str], allow_constant: bool = False, workspace: Workspace | None = None
) -> Volume:
    """Reads and checks a volume of any known format.

    Args:
        path: The file, or the folder of one DICOM series.
        allow_constant: Accept one value everywhere, as the mask of a healthy subject has.
        workspace: Where the array is made; in memory by default.

    Returns:
        The voxels in native units, (X, Y, Z), with their geometry.

    Raises:
        UserError: It cannot be used, or changes meanwhile; the message names the file, the
            field and the remedy.
    """
    path = Path(path)
    reader = _reader(path)
    with unchanged([path]):
        return reader.read(path, allow_constant, workspace)


def read_header(path: str | os.PathLike[str]) -> VolumeHeader:
    """Reads and checks a volume's header without its voxels.

    Raises:
        UserError: It cannot be used; the message names the file, the field and the remedy.
    """
    path = Path(path)
    return _reader(path).read_header(path)


def _has_suffix(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> bool:
    name = Path(path).name.lower()
    return name.endswith(suffixes) and not name.startswith("._")


def _reader(path: Path) -> Reader:
    if path.is_dir() and not is_volume(path):
        return _DICOM_FOLDER
    for suffix, reader in READERS.items():
        if path.name.lower().endswith(suffix):
            return reader
    known = ", ".join(VOLUME_SUFFIXES)
    if path.name.lower().endswith(DICOM_SUFFIXES):
        raise UserError(f"{path}: is one DICOM file; give the folder that holds its whole series")
    if is_picture(path):
        raise UserError(f"{path}: is a picture, where a volume ({known}) is needed")
    raise UserError(f"{path}: is no known volume format ({known}); convert it to .nii.gz")
