"""NRRD and MetaImage headers through SimpleITK, checked before any memory is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.geometry import Geometry, LpsFrame
from medstyle_gan.volumes.gzip_stream import LARGEST_RATIO
from medstyle_gan.volumes.lps_geometry import geometry_from_lps
from medstyle_gan.volumes.volume import VolumeHeader

if TYPE_CHECKING:
    import SimpleITK as sitk

IMAGE_IO = {".nrrd": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
_LONGEST_HEADER = 1 << 20
_BZIP2_RATIO = 1 << 20  # no bound is published; a block of 900 kB of one value takes 40 bytes
_RATIOS = {"raw": 1, "gzip": LARGEST_RATIO, "bzip2": _BZIP2_RATIO, "text": 8, "hex": 1}
_ENCODINGS = {"gz": "gzip", "bz2": "bzip2", "txt": "text", "ascii": "text"}  # NRRD's synonyms
_SEVERAL_FILES = "has its voxels in several files; convert it to one .mha or .nrrd"


@dataclass(frozen=True)
class ItkLayout:
    """A checked header.

    Attributes:
        geometry: Shape and position.
        dtype: On-disk type in this machine's byte order.
        data: The file that holds the voxels, `path` itself where they follow the header.
        path: The header's file.
    """

    geometry: Geometry
    dtype: np.dtype
    data: Path
    path: Path

    def describe(self) -> VolumeHeader:
        """The part that users of `read_header` see."""
        return VolumeHeader(self.geometry, self.dtype, self.dtype.kind in "iu", self.path)


def open_itk(path: Path) -> tuple[sitk.ImageFileReader, ItkLayout]:
    """Reads and checks a header.

    Returns:
        A reader that has read the header only, and what it says.

    Raises:
        UserError: Missing, empty, unreadable or no such format; a header that claims more
            than its file can hold; several channels or frames; no usable affine.
    """
    import SimpleITK as sitk

    suffix = path.suffix.lower()
    fields, data, ratio = _storage(path, suffix)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(IMAGE_IO[suffix])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(
            f"{path}: is no usable {_format(suffix)} header ({itk_reason(error)}); "
            "copy or convert the volume again"
        ) from error
    shape = tuple(int(size) for size in reader.GetSize())
    dtype = _dtype(reader, path)
    _check_shape(shape, path)
    _check_scaling(fields, path)
    needed, held = prod(shape) * dtype.itemsize, data.stat().st_size * ratio
    if held < needed:
        raise UserError(
            f"{path}: the header claims the shape {shape} of {dtype} ({needed:,} bytes), but "
            f"{data.name} holds at most {held:,}: it is truncated or the header damaged; "
            "copy or download the file again"
        )
    axes = len(shape)
    frame = LpsFrame(
        spacing=np.array(reader.GetSpacing()),
        origin=np.array(reader.GetOrigin()),
        direction=np.array(reader.GetDirection()).reshape(axes, axes),
    )
    return reader, ItkLayout(geometry_from_lps(shape, frame, path), dtype, data, path)


def itk_reason(error: RuntimeError) -> str:
    """The last sentence of ITK's message, without its source files and addresses."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("): ")[2].removesuffix(".") if lines else "unknown reason"


def _format(suffix: str) -> str:
    return "NRRD" if suffix == ".nrrd" else "MetaImage"


def _storage(path: Path, suffix: str) -> tuple[dict[str, str], Path, int]:
    """The header's text fields, the file of the voxels, and how far that may be inflated."""
    fields = _text_fields(path, suffix)
    if suffix == ".nrrd":
        name = fields.get("data file", fields.get("datafile", "LOCAL"))
        encoding = fields.get("encoding", "raw").lower()
        encoding = _ENCODINGS.get(encoding, encoding)
    else:
        name = fields.get("elementdatafile", "LOCAL")
        binary = fields.get("binarydata", "True").lower() == "true"
        packed = fields.get("compresseddata", "False").lower() == "true"
        encoding = "gzip" if packed else "raw" if binary else "text"
    if encoding not in _RATIOS:
        raise UserError(f"{path}: header field encoding is {encoding!r}; save it as raw or gzip")
    data = path if name.upper() == "LOCAL" else path.parent / name
    if name.upper().startswith("LIST") or ("%" in name and not data.is_file()):
        raise UserError(f"{path}: {_SEVERAL_FILES}")
    if not data.is_file():
        raise UserError(
            f"{path}: its voxels should be in {data}, which is missing; copy that file beside it"
        )
    return fields, data, _RATIOS[encoding]


def _text_fields(path: Path, suffix: str) -> dict[str, str]:
    """The header's lines as lower-case keys with their values."""
    separator, last = (":", "") if suffix == ".nrrd" else ("=", "elementdatafile")
    fields: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            if not file.peek(1):
                raise UserError(f"{path}: is empty (0 bytes); copy or download the file again")
            while file.tell() < _LONGEST_HEADER and (raw := file.readline(_LONGEST_HEADER)):
                line = os.fsdecode(raw).strip()
                key, _, value = line.partition(separator)
                fields.setdefault(key.strip().lower(), value.strip())
                if key.strip().lower() == last:
                    break
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder, where a {_format(suffix)} file is needed") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({os.strerror(error.errno or 0)}); check permissions and disk"
        ) from error
    return fields


def _dtype(reader: sitk.ImageFileReader, path: Path) -> np.dtype:
    import SimpleITK as sitk

    components = reader.GetNumberOfComponents()
    name = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if components != 1:
        raise UserError(
            f"{path}: has {components} values a voxel ({name}); give one grey channel; colour "
            "comes as PNG or JPEG pictures"
        )
    known = {
        sitk.sitkUInt8: "u1",
        sitk.sitkInt8: "i1",
        sitk.sitkUInt16: "u2",
        sitk.sitkInt16: "i2",
        sitk.sitkUInt32: "u4",
        sitk.sitkInt32: "i4",
        sitk.sitkUInt64: "u8",
        sitk.sitkInt64: "i8",
        sitk.sitkFloat32: "f4",
        sitk.sitkFloat64: "f8",
    }
    if reader.GetPixelID() not in known:
        raise UserError(f"{path}: has voxels of the type {name}; convert it to float32")
    return np.dtype(known[reader.GetPixelID()])


def _check_shape(shape: tuple[int, ...], path: Path) -> None:
    if len(shape) < 2 or min(shape) < 1:
        raise UserError(f"{path}: the header gives the shape {shape}; a volume has three axes")
    if prod(shape[3:]) > 1:
        raise UserError(
            f"{path}: the header gives the shape {shape}: more than one frame; "
            "save one three-dimensional volume of it"
        )


def _check_scaling(fields: dict[str, str], path: Path) -> None:
    """MetaImage can name a map to native units, which ITK leaves out."""
    for key, neutral in (("slope", "1"), ("offset", "0")):
        value = fields.get(f"elementtointensityfunction{key}", neutral)
        if value.rstrip("0").rstrip(".") not in (neutral, ""):
            raise UserError(
                f"{path}: header field ElementToIntensityFunction{key.title()} is {value}, which "
                "no reader applies; save the voxels in native units"
            )
