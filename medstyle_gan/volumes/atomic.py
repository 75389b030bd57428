"""Files that appear whole or not at all: a temporary name in the same folder, then a rename."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medstyle_gan.errors import UserError

_LEFT_OVER = ".medstyle-*.part"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes its name only once it is complete.

    The folder is made if it is missing. Until the block ends without an error the bytes
    stand under a hidden name ending in `.part` beside `path`; after any error, Ctrl-C
    included, that file is removed and what stood at `path` before is untouched.

    Args:
        path: The file to write or replace.

    Yields:
        The open binary file.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    temporary = _temporary(path.parent)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a network disk reports that it is full only now
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(_explain(error, path)) from error
        raise


@contextmanager
def atomic_files(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place for a library that opens its files itself, and may write several.

    They take their names beside `path` once all are complete, `path` itself last; after any
    error they are removed and what stood there before is untouched.

    Args:
        path: The file to write or replace.

    Yields:
        A path of the same name in a temporary folder.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    with _temporary_folder(path) as folder:
        yield folder / path.name
        names = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
        for file in names:
            _sync(file)
        for file in names:
            file.replace(path.with_name(file.name))


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder that takes its name only once everything in it is complete.

    Args:
        path: The folder; an empty one may stand there, nothing else.

    Yields:
        The temporary folder to write into.

    Raises:
        UserError: Something is there already, the folder above cannot be written to, or the
            disk is full.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path}: exists already; choose another output folder or remove it")
    with _temporary_folder(path) as folder:
        yield folder
        for file in folder.rglob("*"):
            if file.is_file():
                _sync(file)
        folder.replace(path)


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """A `scratch_folder` beside `path` in which errors are told as of `path`."""
    try:
        with scratch_folder(path.parent) as folder:
            yield folder
    except OSError as error:
        raise UserError(_explain(error, path)) from error


def _sync(file: Path) -> None:
    """Makes a network disk report now that it is full."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def second_name(path: Path, other: Path) -> None:
    """Gives a complete file another name in its folder, in place of what has that name.

    At every moment `other` is the old file or the new one, whole. It is a hard link, which
    costs nothing, and on disks without links a copy. Later both names live apart: replacing
    or removing one leaves the other.

    Args:
        path: The file.
        other: Its second name.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    temporary = _temporary(other.parent)
    try:
        os.link(path, temporary)
    except OSError:  # FAT, some network disks: no links there
        with path.open("rb") as source, atomic_file(other) as copy:
            shutil.copyfileobj(source, copy)
        return
    try:
        temporary.replace(other)
    except OSError as error:
        raise UserError(_explain(error, other)) from error
    finally:
        # Renaming does nothing where both names are of one file already.
        temporary.unlink(missing_ok=True)


def remove_left_over(folder: str | os.PathLike[str]) -> int:
    """Removes what killed programs left half-written in a folder and the folders in it.

    That is files, and folders with all that is in them.

    Only where no program is writing: the files of one that is cannot be told from these.

    Returns:
        How many files, or folders of files, there were.
    """
    left = list(Path(folder).rglob(_LEFT_OVER))
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


@contextmanager
def scratch_folder(parent: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder for what is to be complete before it is renamed into `parent`.

    It is on the disk of `parent`, hidden, and goes with the block; a kill leaves it to
    `remove_left_over`.

    Raises:
        UserError: `parent` is not writable.
    """
    folder = _temporary(Path(parent))
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(_explain(error, folder)) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ensure_writable_folder(folder: str | os.PathLike[str]) -> None:
    """Makes a folder if it is missing and proves that files can be written into it.

    Raises:
        UserError: They cannot, so a command can stop before its work rather than after it.
    """
    folder = Path(folder)
    probe = _temporary(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
    except OSError as error:
        raise UserError(_explain(error, probe)) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _temporary(folder: Path) -> Path:
    return folder / _LEFT_OVER.replace("*", secrets.token_hex(8))


def _explain(error: OSError, path: Path) -> str:
    if error.errno in _FULL:
        return (
            f"{path}: the disk is full or the quota used up, no half file was left; "
            "free some space or write to another disk"
        )
    if error.errno in _REFUSED:
        return (
            f"{path.parent}: the folder is not writable ({os.strerror(error.errno)}); "
            "choose another output folder or change its permissions"
        )
    if error.errno == errno.EISDIR:
        return f"{path}: is a folder, so no file can be written there; choose another name"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path.parent}: is or lies under a file, not a folder; choose another output folder"
    reason = error.strerror or str(error)
    return f"{path}: cannot be written ({reason}); choose another output folder or disk"
