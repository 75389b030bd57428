"""Medical volumes and pictures on disk: the only room that opens an image file."""

from __future__ import annotations

from medstyle_gan.volumes.atomic import (
    atomic_file,
    atomic_folder,
    ensure_writable_folder,
    scratch_folder,
)
from medstyle_gan.volumes.checks import unchanged
from medstyle_gan.volumes.dicom_files import DICOM_SUFFIXES, DicomSeries, find_series, is_dicom
from medstyle_gan.volumes.dicom_profile import PROFILES, Profile
from medstyle_gan.volumes.dicom_reading import read_series, read_series_header
from medstyle_gan.volumes.dicom_uids import UidMap
from medstyle_gan.volumes.dicom_writing import is_derived_series, write_derived_series
from medstyle_gan.volumes.folders import walk_files, walk_names
from medstyle_gan.volumes.geometry import Geometry, LpsFrame
from medstyle_gan.volumes.nifti_colour import read_shown_volume
from medstyle_gan.volumes.pictures import (
    PICTURE_SUFFIXES,
    encode_png,
    read_picture,
    write_animation,
    write_picture,
)
from medstyle_gan.volumes.readers import (
    READERS,
    VOLUME_SUFFIXES,
    Reader,
    is_picture,
    is_volume,
    read_header,
    read_volume,
    stem_of,
)
from medstyle_gan.volumes.videos import VIDEO_SUFFIX, require_av, write_video
from medstyle_gan.volumes.volume import Picture, Volume, VolumeHeader
from medstyle_gan.volumes.voxel_types import to_dtype
from medstyle_gan.volumes.workspace import Workspace
from medstyle_gan.volumes.writers import WRITERS, write_volume

__all__ = [
    "DICOM_SUFFIXES",
    "PICTURE_SUFFIXES",
    "PROFILES",
    "READERS",
    "VIDEO_SUFFIX",
    "VOLUME_SUFFIXES",
    "WRITERS",
    "DicomSeries",
    "Geometry",
    "LpsFrame",
    "Picture",
    "Profile",
    "Reader",
    "UidMap",
    "Volume",
    "VolumeHeader",
    "Workspace",
    "atomic_file",
    "atomic_folder",
    "encode_png",
    "ensure_writable_folder",
    "find_series",
    "is_derived_series",
    "is_dicom",
    "is_picture",
    "is_volume",
    "read_header",
    "read_picture",
    "read_series",
    "read_series_header",
    "read_shown_volume",
    "read_volume",
    "require_av",
    "scratch_folder",
    "stem_of",
    "to_dtype",
    "unchanged",
    "walk_files",
    "walk_names",
    "write_animation",
    "write_derived_series",
    "write_picture",
    "write_video",
    "write_volume",
]
