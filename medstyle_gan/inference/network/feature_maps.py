"""Feature maps of a whole volume or stack of slices, a few rows of which are in memory at once.

Rows are slices of a stack (the batch axis of a 2-D network's feature maps) or, of a volume, the
planes across its first axis. What can be computed from a few rows of something else is computed
when it is asked for; what must be looked at as a whole is kept, in memory or in a file.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import prod
from typing import BinaryIO, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.errors import UserError

Edge = Literal["reflect", "replicate", "zeros"]
# Of the rows that are computed at once, in the widest maps of a step.
ROWS_BYTES = 64 * 2**20


class FeatureMaps(ABC):
    """Rows that can be asked for.

    Attributes:
        rows: how many there are.
        axis: theirs in what `read` gives: 0 for a stack, 2 for a volume.
    """

    rows: int
    axis: int

    def read(self, begin: int, end: int) -> Tensor:
        """`(B, C, *spatial)` with the rows from `begin` up to `end`, both within them."""
        rows = self._rows(begin, end)
        for widest in _WATCHING.get():
            widest.numbers = max(widest.numbers, rows.numel())
        return rows

    @abstractmethod
    def _rows(self, begin: int, end: int) -> Tensor:
        """What `read` gives."""

    def pieces(self) -> Iterator[tuple[int, int, Tensor]]:
        """All rows, as many at once as fit: where they begin and end, and themselves."""
        begin, count = 0, 1
        while begin < self.rows:
            end = min(begin + count, self.rows)
            with watch_widest() as widest:
                piece = self.read(begin, end)
            yield begin, end, piece
            count = max(1, ROWS_BYTES * (end - begin) // widest.bytes)
            begin = end


@dataclass
class Widest:
    """The most numbers that maps had at once in rows that were read.

    Attributes:
        numbers: how many.
    """

    numbers: int = 0

    @property
    def bytes(self) -> int:
        """Four a number, whatever the type: the layers in between may have more."""
        return max(4 * self.numbers, 1)


_WATCHING: ContextVar[tuple[Widest, ...]] = ContextVar("watching", default=())


@contextmanager
def watch_widest() -> Iterator[Widest]:
    """Note how wide the maps are that are read in a block, those between others too."""
    widest = Widest()
    token = _WATCHING.set((*_WATCHING.get(), widest))
    try:
        yield widest
    finally:
        _WATCHING.reset(token)


class Given(FeatureMaps):
    """Rows of an array in memory, moved to a device when they are read."""

    def __init__(self, array: np.ndarray, axis: int, device: torch.device) -> None:
        self._array, self.axis, self._device = array, axis, device
        self.rows = array.shape[axis]

    def _rows(self, begin: int, end: int) -> Tensor:
        """A copy of the rows."""
        part = self._array[(slice(None),) * self.axis + (slice(begin, end),)]
        return torch.from_numpy(np.ascontiguousarray(part)).to(self._device)


class Computed(FeatureMaps):
    """Rows that a function makes of rows of other maps.

    Args:
        sources: those maps, of one axis.
        function: takes the sources' rows.
        rows: how many it makes; None is as many as the first source has.
        needs: the sources' rows for rows from `begin` up to `end`; None is the same ones.
    """

    def __init__(
        self,
        sources: Sequence[FeatureMaps],
        function: Callable[..., Tensor],
        rows: int | None = None,
        needs: Callable[[int, int], tuple[int, int]] | None = None,
    ) -> None:
        self._sources, self._function, self._needs = sources, function, needs
        self.axis = sources[0].axis
        self.rows = sources[0].rows if rows is None else rows

    def _rows(self, begin: int, end: int) -> Tensor:
        """Compute the rows."""
        needed = (begin, end) if self._needs is None else self._needs(begin, end)
        return self._function(*(source.read(*needed) for source in self._sources))


class Padded(FeatureMaps):
    """A volume's maps with a border on all sides.

    Inside the volume the border of a few rows is the rows beside them, so that it makes no
    difference how many are asked for at once.

    Args:
        source: the maps.
        width: of the border (voxels).
        edge: what is in it.
    """

    def __init__(self, source: FeatureMaps, width: int, edge: Edge) -> None:
        self._source, self._width, self._edge = source, width, edge
        self.axis, self.rows = source.axis, source.rows + 2 * width

    def _rows(self, begin: int, end: int) -> Tensor:
        """The rows, counted from the border's first."""
        width, last = self._width, self._source.rows - 1
        wanted = np.arange(begin, end) - width
        inside = wanted.clip(0, last)
        if self._edge == "reflect":
            inside = np.abs(last - np.abs(last - np.abs(wanted)))
        low, high = int(inside.min()), int(inside.max()) + 1
        rows = self._source.read(low, high)
        if high - low != end - begin or (np.diff(inside) != 1).any():
            rows = rows.index_select(2, torch.from_numpy(inside - low).to(rows.device))
        around = (width,) * 4
        # On a CPU autocast would pad in fp32.
        with torch.autocast(rows.device.type, enabled=False):
            if self._edge != "zeros":
                # The rows have their border; together with the channels they stay out of it.
                flat = F.pad(rows.flatten(1, 2), around, mode=self._edge)
                return flat.unflatten(1, rows.shape[1:3])
            padded = F.pad(rows, around)
        for row in np.flatnonzero((wanted < 0) | (wanted > last)):
            padded[:, :, row] = 0
        return padded


class Kept(FeatureMaps):
    """Maps that were computed once and are read as often as needed; `FeatureMemory` makes them."""

    def __init__(self, axis: int, rows: int, store: _InMemory | _InFile) -> None:
        self.axis, self.rows, self._store = axis, rows, store

    def _rows(self, begin: int, end: int) -> Tensor:
        """The rows as they were computed; not to be changed in place."""
        rows = self._store.read(begin, end)
        return rows if self.axis == 0 else rows.movedim(0, self.axis - 1)[None]


class FeatureMemory:
    """Keeps feature maps: on the device up to a limit, beyond it in temporary files.

    The files have no name: they are gone when the program ends, however it ends.

    Args:
        device: where the maps are computed.
        limit: bytes on the device.
    """

    def __init__(self, device: torch.device, limit: int) -> None:
        self._device, self._limit = device, limit
        self.used = 0
        self.in_files = 0

    def keep(
        self, maps: FeatureMaps, look: Callable[[int, int, Tensor], None] | None = None
    ) -> FeatureMaps:
        """Compute all rows and keep them.

        Args:
            maps: what to compute.
            look: called with where some rows begin and end, and themselves.

        Raises:
            UserError: where the disk has no room for them.
        """
        store: _InMemory | _InFile | None = None
        for begin, end, piece in maps.pieces():
            rows = piece if maps.axis == 0 else piece[0].movedim(maps.axis - 1, 0)
            store = store or self._store(maps.rows, rows)
            store.write(begin, rows)
            if look is not None:
                look(begin, end, piece)
        assert store is not None
        return Kept(maps.axis, maps.rows, store)

    def _store(self, rows: int, like: Tensor) -> _InMemory | _InFile:
        shape = (rows, *like.shape[1:])
        size = prod(shape) * like.element_size()
        if self.used + size > self._limit:
            self.in_files += size
            return _InFile(shape, like.dtype, self._device)
        self.used += size
        store = _InMemory(torch.empty(shape, dtype=like.dtype, device=self._device))
        weakref.finalize(store, self._release, size)
        return store

    def _release(self, size: int) -> None:
        self.used -= size


class _InMemory:
    def __init__(self, rows: Tensor) -> None:
        self._rows = rows

    def write(self, begin: int, rows: Tensor) -> None:
        self._rows[begin : begin + len(rows)] = rows

    def read(self, begin: int, end: int) -> Tensor:
        return self._rows[begin:end]


class _InFile:
    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self._shape, self._dtype, self._device = tuple(shape[1:]), dtype, device
        self._row_bytes = prod(self._shape) * torch.empty(0, dtype=dtype).element_size()
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # open while this lives
        weakref.finalize(self, self._file.close)

    def write(self, begin: int, rows: Tensor) -> None:
        data = rows.contiguous().cpu().flatten().view(torch.uint8).numpy().data
        try:
            self._file.seek(begin * self._row_bytes)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()}: no room for the temporary files of this translation "
                f"({error.strerror}); set TMPDIR to a larger disk, raise "
                "inference.feature_memory, or set inference.statistics=window"
            ) from error

    def read(self, begin: int, end: int) -> Tensor:
        data = np.empty((end - begin) * self._row_bytes, np.uint8)
        view, offset = data.data, begin * self._row_bytes
        while len(view):
            got = os.preadv(self._file.fileno(), [view], offset)
            view, offset = view[got:], offset + got
        rows = torch.from_numpy(data).view(self._dtype).view(end - begin, *self._shape)
        return rows.to(self._device)
