"""What every volume is checked for, whatever format it comes in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.workspace import release, slabs

_LARGEST = float(np.finfo(np.float32).max)  # samples are float32


def check_memory(shape: Sequence[int], dtype: np.dtype, field: str, path: Path) -> None:
    """Refuses a volume that is larger than this machine's memory.

    Args:
        shape: As the header claims it.
        dtype: On-disk type.
        field: The header's field that claims the shape, for the message.
        path: The file.

    Raises:
        UserError: Before anything of that size is allocated.
    """
    if not hasattr(os, "sysconf"):  # Windows; there the allocation itself fails
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = prod(shape) * dtype.itemsize
    if needed > memory:
        raise UserError(
            f"{path}: {field} claims the shape {tuple(shape)} of {dtype}, "
            f"{needed / 2**30:,.1f} GiB, and this machine has {memory / 2**30:,.1f} GiB of "
            "memory; split or downsample the volume"
        )


def check_values(array: np.ndarray, path: Path, allow_constant: bool) -> None:
    """Refuses values that nothing can be made of.

    Args:
        array: (X, Y, Z) in native units.
        path: The file.
        allow_constant: Accept one value everywhere, as an empty mask has.

    Raises:
        UserError: NaN, infinities, values beyond float32, or one value everywhere.
    """
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


@contextmanager
def unchanged(paths: Sequence[Path]) -> Iterator[None]:
    """Refuses files that change while they are read: half of each version is no volume.

    Size, modification time and identity are compared before and after. Files that are missing
    are left to the reader's own message.

    Raises:
        UserError: One of them changed, on leaving the block without another error.
    """
    before = [_state(path) for path in paths]
    yield
    for path, state in zip(paths, before, strict=True):
        if _state(path) != state:
            raise UserError(
                f"{path}: changed while it was read; wait until nothing writes to it "
                "(a copy, a download, a scanner's export), then try again"
            )


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
