"""The sha256 of outputs and of the settings behind them, and what tells that inputs changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medstyle_gan.volumes.hashing import hash_file, unreadable


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
            raise unreadable(file, error) from error
        found.append((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns))
    return tuple(found)
