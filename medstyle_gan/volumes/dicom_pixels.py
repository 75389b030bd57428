"""The stored pixels of DICOM files, checked against what their headers claim."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.dicom_library import require_pydicom
from medstyle_gan.volumes.dicom_slices import Slice
from medstyle_gan.volumes.workspace import Workspace, release

if TYPE_CHECKING:
    from pydicom import Dataset

_AGAIN = "copy or export the file again"


def read_pixels(slices: Sequence[Slice], workspace: Workspace | None = None) -> np.ndarray:
    """Reads the stored values of slices in their order, each file once.

    Values that MONOCHROME1 shows the other way round (low is bright) are turned within
    BitsStored, so that higher is brighter everywhere.

    Args:
        slices: Of one series, checked to be alike.
        workspace: Where the result is made; in memory by default.

    Returns:
        (slices, rows, columns), the stored type in this machine's byte order.

    Raises:
        UserError: A file is truncated, has more or fewer pixels than it says, or is compressed
            in a way that no installed plugin can read.
    """
    first = slices[0]
    plane = (int(first.shared["Rows"]), int(first.shared["Columns"]))
    frames: dict[Path, list[int]] = {}
    for index, one in enumerate(slices):
        frames.setdefault(one.file, []).append(index)
    stored = (workspace or Workspace()).empty((len(slices), *plane), first.dtype)
    for file, indices in frames.items():
        pixels = _decode(file, (len(indices), *plane), first.dtype)
        for index in indices:
            stored[index] = pixels[slices[index].frame]
            _turn(_clear_unused_bits(stored[index], first), first)
        release(stored)
    return stored


def _decode(file: Path, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """The pixels of one file, (frames, rows, columns)."""
    pydicom = require_pydicom()
    try:
        dataset = pydicom.dcmread(file)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror or error}); check permissions and disk"
        ) from error
    except Exception as error:  # pydicom has no one error for damaged bytes
        raise UserError(f"{file}: is truncated or damaged ({error}); {_AGAIN}") from error
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise UserError(f"{file}: has no TransferSyntaxUID in its file meta; {_AGAIN}")
    if "PixelData" not in dataset:
        raise UserError(f"{file}: has no PixelData: it is truncated or no image; {_AGAIN}")
    if not syntax.is_compressed:
        _check_length(dataset, shape, dtype, file)
    try:
        pixels = dataset.pixel_array
    except Exception as error:
        raise UserError(_why_not_decoded(syntax, error, file)) from error
    if pixels.size != prod(shape):
        raise UserError(
            f"{file}: PixelData has the shape {pixels.shape}, where the header says {shape}; "
            f"{_AGAIN}"
        )
    return pixels.reshape(shape)


def _check_length(
    dataset: Dataset, shape: tuple[int, int, int], dtype: np.dtype, file: Path
) -> None:
    needed, held = prod(shape) * dtype.itemsize, len(dataset.PixelData)
    if held not in (needed, needed + needed % 2):  # an odd length is padded
        what = "the file is truncated" if held < needed else "the header is wrong"
        raise UserError(
            f"{file}: PixelData has {held:,} bytes, where NumberOfFrames, Rows, Columns and "
            f"BitsAllocated make {needed:,}: {what}; {_AGAIN}"
        )


def _why_not_decoded(syntax: str, error: Exception, file: Path) -> str:
    pydicom = require_pydicom()
    name = getattr(syntax, "name", str(syntax))
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        return (
            f"{file}: its pixels are compressed as {name} (TransferSyntaxUID {syntax}), which "
            "pydicom cannot read; decompress the series first, for instance with gdcmconv --raw"
        )
    if not decoder.is_available:
        plugins = "; or ".join(decoder.missing_dependencies)
        return (
            f"{file}: its pixels are compressed as {name} (TransferSyntaxUID), and no plugin for "
            f"that is installed: {plugins}. pip install medstyle-gan[dicom] brings pylibjpeg's"
        )
    return f"{file}: its PixelData ({name}) is truncated or damaged ({error}); {_AGAIN}"


def _clear_unused_bits(plane: np.ndarray, first: Slice) -> np.ndarray:
    """Bits above BitsStored may hold overlays of old scanners, which are no values."""
    spare = plane.dtype.itemsize * 8 - int(first.shared["BitsStored"] or plane.itemsize * 8)
    if spare > 0:
        np.left_shift(plane, spare, out=plane)
        np.right_shift(plane, spare, out=plane)  # which repeats the sign of signed values
    return plane


def _turn(plane: np.ndarray, first: Slice) -> None:
    if first.shared["PhotometricInterpretation"] != "MONOCHROME1":
        return
    bits = int(first.shared["BitsStored"] or plane.itemsize * 8)
    brightest = -1 if plane.dtype.kind == "i" else 2**bits - 1
    np.subtract(np.array(brightest, plane.dtype), plane, out=plane)
