"""The sha256 of files and folders."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable
from pathlib import Path

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.folders import walk_files


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def hash_files(files: Iterable[Path]) -> str:
    """One sha256 over the sha256 of several files, whichever order and names they have.

    Raises:
        UserError: One cannot be read.
    """
    return hashlib.sha256("".join(sorted(map(hash_file, files))).encode()).hexdigest()


def hash_content(path: Path) -> str:
    """The sha256 of a file, or of all files in a folder, whichever order and names they have.

    Raises:
        UserError: It cannot be read.
    """
    return hash_files(walk_files(path)) if path.is_dir() else hash_file(path)


def unreadable(path: Path, error: OSError) -> UserError:
    """What to tell of a file that cannot be read."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return UserError(f"{path}: is a symbolic link that leads nowhere; mend or remove it")
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: there is no such file; check the path")
    if error.errno == errno.ELOOP:
        return UserError(f"{path}: is a symbolic link that leads back to itself; mend or remove it")
    why = error.strerror or error
    return UserError(f"{path}: cannot be read ({why}); check permissions and disk")
