"""NIfTI headers: read without the voxels, and checked before any memory is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path

import nibabel as nib
import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.geometry import Geometry
from medstyle_gan.volumes.gzip_stream import GZIP_MAGIC, LARGEST_RATIO
from medstyle_gan.volumes.nifti_geometry import geometry_from_header
from medstyle_gan.volumes.volume import VolumeHeader

_NIFTI1_BYTES, _NIFTI2_BYTES = 348, 540
HEADER_BYTES = _NIFTI2_BYTES  # enough for either version
_SINGLE_FILE_MAGIC = {1: b"n+1", 2: b"n+2"}
_PAIR_MAGIC = {1: b"ni1", 2: b"ni2"}
_DTYPES = {
    2: "u1",
    256: "i1",
    4: "i2",
    512: "u2",
    8: "i4",
    768: "u4",
    1024: "i8",
    1280: "u8",
    16: "f4",
    64: "f8",
}
_REFUSED_DTYPES = {
    1: ("binary", "convert it to uint8"),
    32: ("complex", "save its magnitude as float32"),
    1792: ("complex", "save its magnitude as float32"),
    2048: ("complex", "save its magnitude as float32"),
    1536: ("128-bit float", "convert it to float32"),
    128: ("RGB colour", "give one grey channel; colour comes as PNG or JPEG pictures"),
    2304: ("RGBA colour", "give one grey channel; colour comes as PNG or JPEG pictures"),
}


@dataclass(frozen=True)
class NiftiLayout:
    """A checked header: where in the file the voxels lie and how they are coded.

    Attributes:
        geometry: Shape and position.
        stored: On-disk type with its byte order.
        offset: Bytes before the first voxel.
        slope: Native value = slope * stored value + intercept; 1 and 0 where unscaled.
        intercept: See `slope`.
    """

    geometry: Geometry
    stored: np.dtype
    offset: int
    slope: float
    intercept: float

    @property
    def voxel_bytes(self) -> int:
        """Size of all voxels in the file, uncompressed."""
        return prod(self.geometry.shape) * self.stored.itemsize

    @property
    def dtype(self) -> np.dtype:
        """On-disk type in this machine's byte order."""
        return self.stored.newbyteorder("=")

    @property
    def scaled(self) -> bool:
        """Whether slope and intercept change anything."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def integer(self) -> bool:
        """Whether native values are whole numbers."""
        whole = self.slope.is_integer() and self.intercept.is_integer()
        return self.stored.kind in "iu" and whole

    def describe(self, path: Path) -> VolumeHeader:
        """The part that users of `read_header` see."""
        return VolumeHeader(self.geometry, self.dtype, self.integer, path)


def parse_header(start: bytes, path: Path) -> NiftiLayout:
    """Checks a header.

    Args:
        start: The file's first `HEADER_BYTES` bytes, uncompressed, or all that it has.
        path: For messages and the file's size.

    Raises:
        UserError: It is none of NIfTI, or one that cannot be used; names the field.
    """
    header, version = raw_header(start, path)
    shape = _shape(header, path)
    stored = _stored_dtype(header, path)
    slope, intercept = _scaling(header, path)
    return NiftiLayout(
        geometry=geometry_from_header(header, shape, version, path),
        stored=stored,
        offset=voxel_offset(header, path),
        slope=slope,
        intercept=intercept,
    )


def raw_header(start: bytes, path: Path) -> tuple[nib.Nifti1Header, int]:
    """A header as it stands in the file, and its NIfTI version, 1 or 2.

    Args:
        start: As `parse_header` takes it.
        path: For messages.

    Raises:
        UserError: It is truncated or none of a NIfTI file with its voxels in it.
    """
    version, order = _version_and_order(start, path)
    size = _NIFTI1_BYTES if version == 1 else _NIFTI2_BYTES
    if len(start) < size:
        raise UserError(
            f"{path}: is truncated: {len(start)} bytes of a NIfTI header of {size}; "
            "copy or download the file again"
        )
    header_class = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    # check=False: nibabel's checks would put 1 for a zero voxel size and hide the fault.
    header = header_class(start[:size], endianness=order, check=False)
    _check_magic(header, version, path)
    return header, version


def voxel_offset(header: nib.Nifti1Header, path: Path) -> int:
    """Bytes of the file before the first voxel.

    Raises:
        UserError: There cannot be so many or so few.
    """
    offset = float(header["vox_offset"])
    header_bytes = header.sizeof_hdr
    if not isfinite(offset) or offset < header_bytes or not offset.is_integer():
        raise UserError(
            f"{path}: header field vox_offset is {offset:g}, inside the header of "
            f"{header_bytes} bytes; the header is damaged: convert the volume again"
        )
    return int(offset)


def check_file_holds(layout: NiftiLayout, path: Path, compressed: bool) -> None:
    """Refuses a header that claims more voxels than its file can hold.

    Args:
        layout: The checked header.
        path: The file, for its size.
        compressed: Whether it is gzip; then the bound is deflate's best ratio.

    Raises:
        UserError: Before anything of that size is allocated.
    """
    held = path.stat().st_size * (LARGEST_RATIO if compressed else 1)
    needed = layout.offset + layout.voxel_bytes
    if held < needed:
        raise UserError(
            f"{path}: header field dim claims the shape {layout.geometry.shape} of "
            f"{layout.dtype} ({needed:,} bytes), but the file holds at most {held:,}: it is "
            "truncated or its header damaged; copy or download the file again"
        )


def _version_and_order(start: bytes, path: Path) -> tuple[int, str]:
    for version, size in ((1, _NIFTI1_BYTES), (2, _NIFTI2_BYTES)):
        for order, name in (("<", "little"), (">", "big")):
            if start[:4] == size.to_bytes(4, name):  # type: ignore[arg-type]
                return version, order
    if start.startswith(GZIP_MAGIC):
        raise UserError(f"{path}: is compressed twice; decompress it once (gunzip)")
    raise UserError(
        f"{path}: is not NIfTI (header field sizeof_hdr is neither 348 nor 540); "
        "convert the volume to .nii.gz, or remove the file from the collection"
    )


def _check_magic(header: nib.Nifti1Header, version: int, path: Path) -> None:
    magic = bytes(header["magic"])[:3]
    if magic == _SINGLE_FILE_MAGIC[version]:
        return
    if magic == _PAIR_MAGIC[version]:
        raise UserError(
            f"{path}: header field magic says that the voxels are in another file (.hdr/.img); "
            "convert the pair to one .nii.gz"
        )
    raise UserError(
        f"{path}: is not NIfTI (header field magic is {magic!r}), perhaps Analyze 7.5; "
        "convert the volume to .nii.gz"
    )


def _shape(header: nib.Nifti1Header, path: Path) -> tuple[int, ...]:
    dim = [int(size) for size in header["dim"]]
    axes = dim[0]
    if not 1 <= axes <= 7 or min(dim[1 : axes + 1]) < 1:
        raise UserError(
            f"{path}: header field dim is {dim}, which is no shape; "
            "the header is damaged: convert the volume again from its source"
        )
    shape = tuple(dim[1 : axes + 1])
    if axes == 1:
        raise UserError(f"{path}: header field dim gives one axis, {shape}; a volume has three")
    if prod(shape[3:]) > 1:
        raise UserError(
            f"{path}: header field dim gives the shape {shape}: more than one frame or "
            "channel; save one three-dimensional volume of it"
        )
    return shape


def _stored_dtype(header: nib.Nifti1Header, path: Path) -> np.dtype:
    code = int(header["datatype"])
    if code in _DTYPES:
        return np.dtype(header.endianness + _DTYPES[code])
    name, mend = _REFUSED_DTYPES.get(code, ("unknown", "convert it to float32"))
    raise UserError(f"{path}: header field datatype is {code} ({name}); {mend}")


def _scaling(header: nib.Nifti1Header, path: Path) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # The standard: slope 0 is "no scaling"; nibabel writes NaN for the same.
    if slope == 0 or not isfinite(slope):
        return 1.0, 0.0
    if not isfinite(intercept):
        raise UserError(f"{path}: header field scl_inter is {intercept}; set it to 0")
    return slope, intercept
