"""The same NIfTI file without its text: header fields for text emptied, extensions left out."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import BinaryIO

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_file
from medstyle_gan.volumes.checks import unchanged
from medstyle_gan.volumes.gzip_stream import GzipReader, GzipWriter
from medstyle_gan.volumes.nifti_header import raw_header, voxel_offset
from medstyle_gan.volumes.nifti_reading import fill, open_stream, skip
from medstyle_gan.volumes.nifti_writing import GZIP_LEVEL

_CHUNK = 1 << 20
_NO_EXTENSIONS = bytes(4)


def deidentify_nifti(source: Path, target: Path) -> None:
    """Copies a NIfTI file byte for byte, but for its text.

    Any type and number of axes; numbers of the header (geometry, scaling, intent code) stay.
    The description, auxiliary file, intent name and Analyze's old text fields become empty,
    header extensions and what stands after the voxels go.

    Args:
        source: `.nii` or `.nii.gz`.
        target: Likewise; its ending decides whether it is compressed.

    Raises:
        UserError: The source is no whole NIfTI file, or the target cannot be written.
    """
    with unchanged([source]), open_stream(source) as (stream, start):
        header, _ = raw_header(start, source)
        offset = voxel_offset(header, source)
        axes = int(header["dim"][0])
        voxels = prod(int(size) for size in header["dim"][1 : axes + 1])
        left = voxels * int(header["bitpix"]) // 8
        if not 1 <= axes <= 7 or left <= 0:
            raise UserError(
                f"{source}: header field dim is {header['dim'].tolist()} with bitpix "
                f"{header['bitpix']}, which are no voxels; convert the volume again"
            )
        for name in header.keys():  # noqa: SIM118, nibabel's header iterates over nothing else
            if header.structarr.dtype[name].kind == "S" and name not in ("magic", "regular"):
                header[name] = b""
        header["vox_offset"] = header.single_vox_offset
        with atomic_file(target) as file:
            writer = GzipWriter(file, GZIP_LEVEL) if target.name.lower().endswith(".gz") else None
            write = file.write if writer is None else writer.write
            write(header.binaryblock + _NO_EXTENSIONS)
            early = start[offset : offset + left]
            write(early)
            skip(stream, offset - len(start))
            _copy(stream, write, left - len(early), source)
            if writer is not None:
                writer.finish()


def _copy(
    stream: BinaryIO | GzipReader, write: Callable[[bytes], object], left: int, source: Path
) -> None:
    chunk = bytearray(min(_CHUNK, max(left, 1)))
    while left > 0:
        count = fill(stream, memoryview(chunk)[: min(len(chunk), left)])
        if count == 0:
            raise UserError(
                f"{source}: is truncated: {left:,} bytes of voxels are missing; copy or download "
                "the file again"
            )
        write(bytes(chunk[:count]))
        left -= count
    if isinstance(stream, GzipReader):
        stream.finish()
