"""Where the cache is, and writing into it beside other runs, with failures known as the cache's."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medstyle_gan.config.data_section import CacheConfig
from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_file

_STALE_SECONDS = 24 * 3600


class CacheError(UserError):
    """The cache cannot be used, whatever file was being prepared."""


def cache_folder(config: CacheConfig) -> Path:
    """The configured folder, else $MEDSTYLE_CACHE, else ~/.cache/medstyle_gan."""
    chosen = config.folder or os.environ.get("MEDSTYLE_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "medstyle_gan"


def open_cache_folder(folder: Path) -> None:
    """Make the folder if it is missing, and clear what killed runs left in it.

    Raises:
        CacheError: it cannot be made or looked into.
    """
    try:
        # Preprocessed patients are patients: nobody else on the machine should read them.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        parts = list(folder.glob(".*.part"))
    except OSError as error:
        raise CacheError(
            f"{folder}: the cache folder cannot be made ({error.strerror}); set "
            "data.cache.folder or $MEDSTYLE_CACHE to a folder that can be written"
        ) from error
    for part in parts:
        with suppress(OSError):  # another run may clear it at the same time
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()


@contextmanager
def entry_lock(folder: Path, key: str) -> Iterator[None]:
    """Keep other runs from making the same entry meanwhile; they wait.

    The kernel releases the lock of a run that is killed. Where a network disk has no locks,
    two runs make an entry twice: files take their names when whole, so that both stay right.

    Args:
        folder: the cache.
        key: the entry's; entries whose keys begin alike share a lock.

    Raises:
        CacheError: the folder cannot be written.
    """
    path = folder / "locks" / key[:2]
    try:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        file = path.open("ab")
    except OSError as error:
        raise CacheError(
            f"{folder}: the cache folder cannot be written ({error.strerror}); free some space, "
            "or set data.cache.folder or $MEDSTYLE_CACHE to another folder"
        ) from error
    with file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def cache_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file of the cache that takes its name once complete.

    Raises:
        CacheError: the folder cannot be written, or the disk is full; nothing is left.
    """
    try:
        with atomic_file(path) as file:
            yield file
    except UserError as error:
        raise CacheError(
            f"the cache of preprocessed volumes cannot be written: {error}, or set "
            "data.cache.folder or $MEDSTYLE_CACHE to another folder"
        ) from error
