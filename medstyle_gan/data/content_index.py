"""Content hashes of files, remembered so that an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from medstyle_gan.data.cache_files import cache_file
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import walk_files
from medstyle_gan.volumes.hashing import hash_content


class ContentIndex:
    """Looks a file's content hash up by its path's hash, size and times.

    The folder holds one small file a path, named by the path's SHA-256: no path and no name
    of a patient stands in it, and several runs can write to it at once.

    Args:
        folder: where the records are; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hash_of(self, path: Path) -> str:
        """SHA-256 of the file's bytes; read from the index when the file is unchanged.

        Raises:
            UserError: the file cannot be read.
            CacheError: the index cannot be written.
        """
        try:
            state = _state(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
        record = self._folder / name[:2] / f"{name}.json"
        try:
            known = json.loads(record.read_text())
            if known["state"] == state:
                return str(known["content"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not recorded yet, or another run's damaged record: read the file again
        content = hash_content(path)
        with cache_file(record) as file:
            file.write(json.dumps({"state": state, "content": content}).encode())
        return content


def _state(path: Path) -> list[int]:
    """What changes with a file's bytes, or with those of any file in a folder."""
    state = []
    for file in walk_files(path) if path.is_dir() else [path]:
        status = file.stat()
        # The change time cannot be set back, as the modification time is by copying tools.
        state += [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    return state
