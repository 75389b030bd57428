"""Finding files that are the same, by path or by content, without reading all of them."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from medstyle_gan.volumes import walk_files
from medstyle_gan.volumes.hashing import hash_content


def same_files(paths: Sequence[Path], others: Sequence[Path]) -> list[Path]:
    """Those of `others` whose real path or content is that of one of `paths`."""
    real = {os.path.realpath(path) for path in paths}
    probes: dict[tuple[int, bytes], list[Path]] = {}
    for path in paths:
        probe = _probe(path)
        if probe is not None:
            probes.setdefault(probe, []).append(path)
    whole = functools.cache(hash_content)
    both = []
    for other in others:
        probe = _probe(other)
        twins = probes.get(probe, []) if probe is not None else []
        same = os.path.realpath(other) in real
        # Whole files are read only where their probes agree already.
        if same or any(whole(other) == whole(twin) for twin in twins):
            both.append(other)
    return both


def _probe(path: Path, parts: int = 8, length: int = 8192) -> tuple[int, bytes] | None:
    """Size, and a hash of a few parts spread over the file; None where it cannot be read.

    Start and end alone say little: volumes share their headers and their dark borders. Of a
    folder the files' sizes stand for it. A file that cannot be read is reported with all other
    unusable ones when it is prepared.
    """
    if path.is_dir():
        sizes = sorted(file.stat().st_size for file in walk_files(path))
        return sum(sizes), repr(sizes).encode()
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            for part in range(parts):
                file.seek(max(0, size - length) * part // (parts - 1))
                digest.update(file.read(length))
    except OSError:
        return None
    return size, digest.digest()
