"""Reads NIfTI-1 and NIfTI-2, `.nii` and `.nii.gz`: the header alone, or all in one pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.gzip_stream import GZIP_MAGIC, GzipError, GzipReader
from medstyle_gan.volumes.nifti_header import (
    HEADER_BYTES,
    NiftiLayout,
    check_file_holds,
    check_memory_holds,
    parse_header,
)
from medstyle_gan.volumes.volume import Volume, VolumeHeader
from medstyle_gan.volumes.workspace import Workspace, release, slabs

_SKIP_BYTES = 1 << 20
_PART_BYTES = 1 << 23
_LARGEST = float(np.finfo(np.float32).max)  # samples are float32
_FLOAT32_WHOLE = 2**24  # float32 holds every whole number up to here


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
            check_memory_holds(layout, path)
        workspace = workspace or Workspace()
        stored = _read_voxels(stream, start, layout, path, workspace)
    array = _to_native_units(stored, layout, workspace)
    _check_values(array, path, allow_constant)
    return Volume(array, layout.geometry, layout.dtype, layout.integer, path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO | GzipReader, bytes, NiftiLayout]]:
    """The stream after the header's first bytes, those bytes, and what they mean."""
    try:
        with path.open("rb") as file:
            compressed = file.peek(2)[:2] == GZIP_MAGIC
            stream = GzipReader(file) if compressed else file
            start = bytearray(HEADER_BYTES)
            del start[_fill(stream, memoryview(start).cast("B")) :]
            if not start:
                raise UserError(f"{path}: is empty (0 bytes); copy or download the file again")
            layout = parse_header(bytes(start), path)
            check_file_holds(layout, path, compressed)
            yield stream, bytes(start), layout
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
    _skip(stream, layout.offset - len(start))
    filled = len(early)
    while filled < len(buffer) and (read := _fill(stream, buffer[filled : filled + _PART_BYTES])):
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


def _fill(stream: BinaryIO | GzipReader, buffer: memoryview) -> int:
    """Reads until the buffer is full or the stream ends; gives the number of bytes."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])  # type: ignore[union-attr]
        if not count:
            break
        filled += count
    return filled


def _skip(stream: BinaryIO | GzipReader, count: int) -> None:
    """Passes over header extensions."""
    if count <= 0:
        return
    if not isinstance(stream, GzipReader):
        stream.seek(count, os.SEEK_CUR)
        return
    scratch = memoryview(bytearray(min(count, _SKIP_BYTES)))
    while count > 0 and (read := stream.readinto(scratch[:count])):
        count -= read


def _to_native_units(stored: np.ndarray, layout: NiftiLayout, workspace: Workspace) -> np.ndarray:
    if not layout.scaled:
        return stored
    largest = abs(layout.slope) * 2.0 ** (8 * stored.itemsize) + abs(layout.intercept)
    small = stored.dtype.kind in "iu" and stored.itemsize <= 2
    # 16 bits scaled in float32 err by 1e-7 of the range; whole numbers must stay whole.
    single = small and (largest <= _FLOAT32_WHOLE or not layout.integer)
    # Made with its axes reversed: X fastest, as in the file.
    array = workspace.empty(stored.shape[::-1], np.float32 if single else np.float64).T
    with np.errstate(over="ignore", invalid="ignore"):  # reported by _check_values
        for slab in slabs(stored.shape, 2):
            np.multiply(stored[slab], layout.slope, out=array[slab], casting="unsafe")
            np.add(array[slab], layout.intercept, out=array[slab])
            release(stored, array)
    return array


def _check_values(array: np.ndarray, path: Path, allow_constant: bool) -> None:
    # min and max show NaN and infinity too, without a second array of the volume's size.
    bounds = []
    with np.errstate(invalid="ignore"):
        for slab in slabs(array.shape, 2):
            bounds.append((array[slab].min(), array[slab].max()))
            release(array)
    low, high = np.min([low for low, _ in bounds]), np.max([high for _, high in bounds])
    if array.dtype.kind == "f" and not (low >= -_LARGEST and high <= _LARGEST):
        bad = sum(
            int(np.count_nonzero(~(np.abs(array[slab]) <= _LARGEST)))
            for slab in slabs(array.shape, 2)
        )
        raise UserError(
            f"{path}: {bad:,} of {array.size:,} voxels are NaN, infinite or beyond float32; "
            "replace them by the background's value, or leave the file out"
        )
    if low == high and not allow_constant:
        raise UserError(
            f"{path}: every voxel has the same value, {low:g}, so there is nothing to translate; "
            "leave the file out"
        )
