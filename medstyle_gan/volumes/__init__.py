"""Medical volumes and pictures on disk: the only room that opens an image file."""

from __future__ import annotations

from medstyle_gan.volumes.atomic import atomic_file, ensure_writable_folder
from medstyle_gan.volumes.geometry import Geometry, LpsFrame
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
from medstyle_gan.volumes.voxel_types import to_dtype
from medstyle_gan.volumes.writers import WRITERS, write_volume

__all__ = [
    "PICTURE_SUFFIXES",
    "READERS",
    "VOLUME_SUFFIXES",
    "WRITERS",
    "Geometry",
    "LpsFrame",
    "Picture",
    "Reader",
    "Volume",
    "VolumeHeader",
    "atomic_file",
    "ensure_writable_folder",
    "is_picture",
    "is_volume",
    "read_header",
    "read_picture",
    "read_volume",
    "to_dtype",
    "write_picture",
    "write_volume",
]
