"""The sha256 of files and folders, and of the settings behind a translation."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medstyle_gan.errors import UserError

_CHUNK = 1 << 20


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal.

    Raises:
        UserError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise UserError(_explain(path, error)) from error
    return digest.hexdigest()


def hash_files(files: Iterable[Path]) -> str:
    """One sha256 over the sha256 of several files, whichever order and names they have."""
    return hashlib.sha256("".join(sorted(hash_file(f) for f in files)).encode()).hexdigest()


def hash_output(path: Path) -> str:
    """The sha256 of a file, or of all files in a folder with their names."""
    if not path.is_dir():
        return hash_file(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(os.fsencode(file.relative_to(path)) + b"\0" + hash_file(file).encode())
    return digest.hexdigest()


def hash_facts(facts: dict[str, Any]) -> str:
    """The sha256 of plain values, whichever order their keys have."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stamp(files: Iterable[Path]) -> tuple[tuple[int, ...], ...]:
    """What tells that files were changed meanwhile: device, inode, size and time."""
    found = []
    for file in files:
        try:
            s = file.stat()
        except OSError as error:
            raise UserError(_explain(file, error)) from error
        found.append((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns))
    return tuple(found)


def _explain(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return f"{path}: is a symbolic link that leads nowhere; mend or remove it"
    if isinstance(error, FileNotFoundError):
        return f"{path}: there is no such file; check the path"
    if error.errno == errno.ELOOP:
        return f"{path}: is a symbolic link that leads back to itself; mend or remove it"
    return f"{path}: cannot be read ({error.strerror or error}); check permissions and disk"
