"""Walks folders without going in circles, and without passing over what it cannot see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from medstyle_gan.errors import UserError


def walk_names(folder: Path, skip: Path | None = None) -> Iterator[Path]:
    """All that is no folder in a folder and the folders in it, sorted, without hidden ones.

    Links are followed, but no folder is entered twice: a link back up would never end. A link
    that leads nowhere is among them.

    Args:
        folder: Where to start.
        skip: A folder in it that is left out, such as the output's.

    Raises:
        UserError: A folder cannot be read.
    """
    skipped = None if skip is None else os.path.realpath(skip)
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen or (real == skipped and Path(parent) != folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(parent, name)


def walk_files(folder: Path, skip: Path | None = None) -> Iterator[Path]:
    """The files among `walk_names`."""
    return (path for path in walk_names(folder, skip) if path.is_file())


def _refuse(error: OSError) -> None:
    raise UserError(
        f"{error.filename}: the folder cannot be read ({error.strerror}); change its permissions "
        "or leave it out"
    ) from error
