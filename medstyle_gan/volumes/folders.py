"""Walks folders without going in circles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk_files(folder: Path, skip: Path | None = None) -> Iterator[Path]:
    """The files in a folder and the folders in it, sorted, without hidden ones.

    Links are followed, but no folder is entered twice: a link back up would never end.

    Args:
        folder: Where to start.
        skip: A folder in it that is left out, such as the output's.
    """
    skipped = None if skip is None else os.path.realpath(skip)
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen or (real == skipped and Path(parent) != folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent, name)
            if not name.startswith(".") and file.is_file():
                yield file
