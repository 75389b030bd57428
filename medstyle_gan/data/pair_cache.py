"""What a cached pair of volumes is known by: a record beside its arrays, and its subject."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from medstyle_gan.data.cache_entry import write_slices
from medstyle_gan.data.cache_files import cache_file
from medstyle_gan.data.cached_volume import CachedVolume
from medstyle_gan.data.slices import to_slices


class Pair(Protocol):
    """A scan with something on its grid."""

    @property
    def scan(self) -> CachedVolume:
        """The scan."""
        ...


_Pair = TypeVar("_Pair", bound=Pair)


def pairs_by_subject(pairs: Iterable[_Pair]) -> tuple[tuple[_Pair, ...], ...]:
    """The pairs of each scan's subject, in a fixed order."""
    groups: dict[str, list[_Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.scan.item.subject, []).append(pair)
    return tuple(tuple(groups[subject]) for subject in sorted(groups))


def read_record(record: Path, widths: Mapping[Path, int]) -> dict[str, Any] | None:
    """The facts of a pair.

    Args:
        record: their file.
        widths: of the arrays, by their files: bytes a voxel.

    Returns:
        Empty where there is no such pair; None where the record or an array is absent or damaged.
    """
    try:
        entry: dict[str, Any] = json.loads(record.read_text())
        if not entry:
            return entry
        voxels = entry["shape"][0] * int(np.prod(entry["shape"][2:]))
        whole = all(path.stat().st_size > width * voxels for path, width in widths.items())
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # it is made (again)
    return entry if whole else None


def write_array(path: Path, array: np.ndarray, plane: str, stored: str = "<f4") -> None:
    """Write an array of a pair as slices, whole or not at all.

    Args:
        path: its file.
        array: (C, X, Y, Z).
        plane: of the slices.
        stored: type of the values in the file.
    """
    with cache_file(path) as file:
        write_slices(file, to_slices(array, plane), stored)


def write_record(record: Path, entry: Mapping[str, Any], arrays: Iterable[Path]) -> None:
    """Written last: an entry without facts does not exist, and its arrays take no space."""
    try:
        with cache_file(record) as file:
            file.write(json.dumps(entry).encode())
    except BaseException:
        for path in arrays:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
