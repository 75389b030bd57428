"""Reads NIfTI-1 and NIfTI-2, `.nii` and `.nii.gz`: the header alone, or all in one pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.checks import check_memory, check_values
from medstyle_gan.volumes.gzip_stream import GZIP_MAGIC, GzipError, GzipReader
from medstyle_gan.volumes.nifti_header import (
    HEADER_BYTES,
    NiftiLayout,
    check_file_holds,
    parse_header,
)
from medstyle_gan.volumes.volume import Volume, VolumeHeader
from medstyle_gan.volumes.voxel_types import to_native_units
from medstyle_gan.volumes.workspace import Workspace, release, slabs

_SKIP_BYTES = 1 << 20
_PART_BYTES = 1 << 23


def read_nifti_header(path: Path) -> VolumeHeader:
    """Reads and checks a header; of a compressed file only the start is decompressed.

    Raises:
        UserError: As `read_nifti`, but for what only the voxels show.
    """
    with _opened(path) as (_, _, layout):
        return layout.describe(path)


def read_nifti(
    path: Path, allow_constant: bool = False, workspace: Workspace | None = None
) -> Volume:
    """Reads a volume, its native units applied, slab by slab.

    Args:
        path: The file. Whether it is compressed is told from its bytes, not its name.
        allow_constant: Accept one value everywhere, as an empty mask has.
        workspace: Where the array is made; in memory by default.

    Raises:
        UserError: The file is missing, empty, truncated, not NIfTI, larger than it can be or
            than memory; has more than one frame, colour, complex numbers, NaN, infinities,
            one value only, or no usable affine. Names the file, the field and the remedy.
    """
    with _opened(path) as (stream, start, layout):
        if workspace is None:
            check_memory(layout.geometry.shape, layout.dtype, "header field dim", path)
        workspace = workspace or Workspace()
        stored = _read_voxels(stream, start, layout, path, workspace)
    array = to_native_units(stored, layout.slope, layout.intercept, workspace)
    check_values(array, path, allow_constant)
    return Volume(array, layout.geometry, layout.dtype, layout.integer, path)


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[BinaryIO | GzipReader, bytes]]:
    """The decompressed file after its first `HEADER_BYTES` bytes, and those bytes.

    Raises:
        UserError: It is missing, empty, unreadable or damaged, also while the block reads on.
    """
    try:
        with path.open("rb") as file:
            compressed = file.peek(2)[:2] == GZIP_MAGIC
            stream = GzipReader(file) if compressed else file
            start = bytearray(HEADER_BYTES)
            del start[fill(stream, memoryview(start).cast("B")) :]
            if not start:
                raise UserError(f"{path}: is empty (0 bytes); copy or download the file again")
            yield stream, bytes(start)
    except GzipError as error:
        raise UserError(
            f"{path}: is truncated or damaged, its gzip data cannot be read ({error}); "
            "copy or download the file again"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder, where a NIfTI file is needed") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check permissions and disk"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO | GzipReader, bytes, NiftiLayout]]:
    """The stream after the header's first bytes, those bytes, and what they mean."""
    with open_stream(path) as (stream, start):
        layout = parse_header(start, path)
        check_file_holds(layout, path, isinstance(stream, GzipReader))
        yield stream, start, layout


def _read_voxels(
    stream: BinaryIO | GzipReader,
    start: bytes,
    layout: NiftiLayout,
    path: Path,
    workspace: Workspace,
) -> np.ndarray:
    """The stored values, (X, Y, Z) in Fortran order and this machine's byte order."""
    try:
        raw = workspace.empty([layout.voxel_bytes], np.uint8)
    except MemoryError as error:
        raise UserError(
            f"{path}: the shape {layout.geometry.shape} of {layout.dtype} needs "
            f"{layout.voxel_bytes / 2**30:,.1f} GiB, more memory than is free; "
            "close other programs or downsample the volume"
        ) from error
    buffer = raw.data
    early = start[layout.offset : layout.offset + len(buffer)]  # voxels right after the header
    buffer[: len(early)] = early
    skip(stream, layout.offset - len(start))
    filled = len(early)
    while filled < len(buffer) and (read := fill(stream, buffer[filled : filled + _PART_BYTES])):
        filled += read
        release(raw)
    if filled < len(buffer):
        raise UserError(
            f"{path}: is truncated: {filled:,} of {len(buffer):,} bytes of voxels; "
            "copy or download the file again"
        )
    if isinstance(stream, GzipReader):
        stream.finish()
    stored = raw.view(layout.stored)
    if not layout.stored.isnative:
        for (part,) in slabs(stored.shape, 0):
            stored[part].byteswap(inplace=True)
            release(stored)
        stored = stored.view(layout.dtype)
    return stored.reshape(layout.geometry.spatial_shape, order="F")


def fill(stream: BinaryIO | GzipReader, buffer: memoryview) -> int:
    """Reads until the buffer is full or the stream ends; gives the number of bytes."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])  # type: ignore[union-attr]
        if not count:
            break
        filled += count
    return filled


def skip(stream: BinaryIO | GzipReader, count: int) -> None:
    """Passes over header extensions."""
    if count <= 0:
        return
    if not isinstance(stream, GzipReader):
        stream.seek(count, os.SEEK_CUR)
        return
    scratch = memoryview(bytearray(min(count, _SKIP_BYTES)))
    while count > 0 and (read := stream.readinto(scratch[:count])):
        count -= read
