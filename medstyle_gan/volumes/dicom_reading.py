"""Reads a DICOM series as one volume."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.checks import check_memory, check_values, unchanged
from medstyle_gan.volumes.dicom_files import DicomSeries, find_series
from medstyle_gan.volumes.dicom_pixels import read_pixels
from medstyle_gan.volumes.dicom_stack import Stack, stack_series
from medstyle_gan.volumes.volume import Volume, VolumeHeader
from medstyle_gan.volumes.voxel_types import to_native_units
from medstyle_gan.volumes.workspace import Workspace, release


def read_series_header(series: DicomSeries) -> VolumeHeader:
    """What a series says of its volume, without its pixels.

    Raises:
        UserError: As `read_series`, but for what only the pixels show.
    """
    stack = stack_series(series)
    return VolumeHeader(stack.geometry, stack.dtype, stack.integer, series.folder)


def read_series(
    series: DicomSeries, allow_constant: bool = False, workspace: Workspace | None = None
) -> Volume:
    """Reads a series in native units: slope and intercept are applied.

    Args:
        series: One of `find_series`.
        allow_constant: Accept one value everywhere.
        workspace: Where the array is made; in memory by default.

    Returns:
        (columns, rows, slices), slices in order of their position along the normal; `path` is
        the series' folder.

    Raises:
        UserError: The series is no single, straight, evenly spaced, complete stack of one
            patient and echo, or a file of it cannot be read. Names the folder or file, the
            field and the remedy.
    """
    stack = stack_series(series)
    if workspace is None:
        claims = "Rows × Columns × slices"
        check_memory(stack.geometry.shape, stack.dtype, claims, series.folder)
    _check_sizes(stack)
    workspace = workspace or Workspace()
    with unchanged(series.files):
        stored = read_pixels(stack.slices, workspace)
    native = _to_native_units(stored.T, stack, workspace)
    check_values(native, series.folder, allow_constant)
    return Volume(native, stack.geometry, stack.dtype, stack.integer, series.folder)


def read_dicom_folder(
    path: Path, allow_constant: bool = False, workspace: Workspace | None = None
) -> Volume:
    """Reads the one series of a folder."""
    return read_series(only_series(path), allow_constant, workspace)


def read_dicom_folder_header(path: Path) -> VolumeHeader:
    """Reads the header of the one series of a folder."""
    return read_series_header(only_series(path))


def only_series(folder: Path) -> DicomSeries:
    """The series of a folder that holds one.

    Raises:
        UserError: It holds none, or several.
    """
    found = find_series(folder)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"{folder}: is a folder without a DICOM series, where a volume is needed")
    names = ", ".join(f"{s.modality} {s.number} ({len(s.files)} files)" for s in found[:5])
    raise UserError(
        f"{folder}: holds {len(found)} DICOM series ({names}), where one volume is needed; give "
        "each series a folder of its own"
    )


def _check_sizes(stack: Stack) -> None:
    """Refuses a header that claims more pixels than its file has, before memory is asked for.

    How far a compressed file inflates has no bound; that is left to the machine's memory.
    """
    plane = prod(stack.geometry.shape[:2]) * stack.dtype.itemsize
    for file, frames in Counter(one.file for one in stack.slices if not one.packed).items():
        needed, held = frames * plane, file.stat().st_size
        if held < needed:
            raise UserError(
                f"{file}: NumberOfFrames, Rows, Columns and BitsAllocated claim {needed:,} bytes, "
                f"but the file has {held:,}: it is truncated or its header damaged; copy or "
                "export the file again"
            )


def _to_native_units(stored: np.ndarray, stack: Stack, workspace: Workspace) -> np.ndarray:
    scalings = [(one.slope, one.intercept) for one in stack.slices]
    if len(set(scalings)) == 1:
        return to_native_units(stored, *scalings[0], workspace)
    native = workspace.empty(stored.shape[::-1], np.float32).T
    for z, (slope, intercept) in enumerate(scalings):  # PET: each slice has its own
        plane = to_native_units(stored[:, :, z : z + 1].astype(np.float64), slope, intercept)
        with np.errstate(over="ignore"):  # check_values tells
            native[:, :, z : z + 1] = plane
        release(stored, native)
    return native
