"""Arrays for one volume: in memory while they fit, else in hidden files of a folder.

A file-backed array is an ordinary `numpy.ndarray`. Its pages become resident as they are used, and
`release` gives them back, so that code that goes through large arrays slab by slab, releasing
after each, holds one slab in memory. Until then the kernel can write the pages out by itself.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medstyle_gan.errors import UserError

# Voxels of a slab: 8 MiB of float32, small beside any network, large beside Python's overhead.
SLAB_VOXELS = 1 << 21
_RELEASES = hasattr(mmap, "MADV_DONTNEED")
_ZEROS = bytes(1 << 20)


class Workspace:
    """Gives arrays, and memory back when they are gone.

    Args:
        folder: where files may lie, on a disk rather than in memory (tmpfs); they have no
            name, so that not even a kill leaves one. None keeps all in memory.
        memory: bytes of arrays that are kept in memory; None for as many as there are.
    """

    def __init__(self, folder: Path | None = None, memory: int | None = None) -> None:
        self.folder = folder
        self._left = sys.maxsize if memory is None or folder is None else memory
        self._lock = threading.Lock()

    def empty(
        self, shape: Sequence[int], dtype: np.dtype | type, slowest: int | None = None
    ) -> np.ndarray:
        """An array of any content.

        Args:
            shape: its shape.
            dtype: its type.
            slowest: the axis whose slices lie together, so that slabs along it are read and
                written in one piece; by default the first.

        Raises:
            UserError: the disk has too little space.
        """
        shape, kind = tuple(int(n) for n in shape), np.dtype(dtype)
        order = list(range(len(shape)))
        if slowest is not None:
            order.insert(0, order.pop(slowest))
        laid_out = [shape[axis] for axis in order]
        count = prod(shape) * kind.itemsize
        if self._take(count):
            array = np.empty(laid_out, kind)
            weakref.finalize(array, self._give, count)
        else:
            array = np.ndarray(laid_out, kind, buffer=self._map(count))
        return array.transpose(np.argsort(order))

    def full(
        self,
        shape: Sequence[int],
        dtype: np.dtype | type,
        value: np.ndarray | float,
        slowest: int | None = None,
    ) -> np.ndarray:
        """An array of one value; otherwise as `empty`."""
        array = self.empty(shape, dtype, slowest)
        axis = 0 if slowest is None else slowest
        for slab in slabs(array.shape, axis):
            array[slab] = value
            release(array)
        return array

    def _take(self, count: int) -> bool:
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def _give(self, count: int) -> None:
        with self._lock:
            self._left += count

    def _map(self, count: int) -> mmap.mmap:
        assert self.folder is not None
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                _reserve(file, count)
                return mmap.mmap(file.fileno(), count)
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot hold {count / 2**30:.2f} GiB of temporary files "
                f"({error.strerror}); free some space, choose another output folder, or raise "
                "--max-memory"
            ) from error


def _reserve(file: BinaryIO, count: int) -> None:
    """Have the disk say now that it is full: a mapped page could only kill the process then."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, count)
        return
    for start in range(0, count, len(_ZEROS)):
        file.write(_ZEROS[: count - start])
    file.flush()


def release(*arrays: np.ndarray) -> None:
    """Give back the resident pages of file-backed arrays; their values stay. Others are left."""
    for array in arrays:
        owner: object = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, memoryview):
            owner = owner.obj
        if isinstance(owner, mmap.mmap) and _RELEASES:
            owner.madvise(mmap.MADV_DONTNEED)


def is_file_backed(array: np.ndarray) -> bool:
    """Whether an array's values lie in a file."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner.obj if isinstance(owner, memoryview) else owner, mmap.mmap)


def slabs(shape: Sequence[int], axis: int, multiple: int = 1) -> Iterator[tuple[slice, ...]]:
    """Index an array slab by slab.

    Args:
        shape: of the array.
        axis: along which it is cut.
        multiple: what the slabs' thickness is a multiple of, but for the last one's.

    Yields:
        slabs of at most `SLAB_VOXELS` values, but for those of the least thickness.
    """
    length = shape[axis]
    thickness = max(1, SLAB_VOXELS * length // max(1, prod(shape)) // multiple) * multiple
    for start in range(0, length, thickness):
        index = [slice(None)] * len(shape)
        index[axis] = slice(start, min(start + thickness, length))
        yield tuple(index)


def slow_axis(array: np.ndarray) -> int:
    """The axis whose slices lie together in memory or file."""
    return int(np.argmax(np.where(np.array(array.shape) > 1, np.abs(array.strides), 0)))


def copy_in_blocks(out: np.ndarray, array: np.ndarray) -> None:
    """`out[...] = array`, in blocks along the source's slowest axis, its pages given back."""
    for block in slabs(array.shape, slow_axis(array)):
        out[block] = array[block]
        release(array)
