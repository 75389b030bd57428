"""Medical volumes and pictures on disk: the only room that opens an image file."""

from __future__ import annotations

from medstyle_gan.volumes.atomic import atomic_file, ensure_writable_folder, scratch_folder
from medstyle_gan.volumes.geometry import Geometry
from medstyle_gan.volumes.nifti_writing import to_dtype
from medstyle_gan.volumes.nifti_writing import write_nifti as write_volume
from medstyle_gan.volumes.pictures import PICTURE_SUFFIXES, read_picture, write_picture
from medstyle_gan.volumes.readers import (
    READERS,
    VOLUME_SUFFIXES,
    Reader,
    is_picture,
    is_volume,
    read_header,
    read_volume,
)
from medstyle_gan.volumes.volume import Picture, Volume, VolumeHeader
from medstyle_gan.volumes.workspace import Workspace

__all__ = [
    "PICTURE_SUFFIXES",
    "READERS",
    "VOLUME_SUFFIXES",
    "Geometry",
    "Picture",
    "Reader",
    "Volume",
    "VolumeHeader",
    "Workspace",
    "atomic_file",
    "ensure_writable_folder",
    "is_picture",
    "is_volume",
    "read_header",
    "read_picture",
    "read_volume",
    "scratch_folder",
    "to_dtype",
    "write_picture",
    "write_volume",
]
